{{ config(unique_key=['source_system', 'level', 'geography_key']) }}

{%- set added = additive_measures() + ['customer_count', 'buyer_count'] %}

with

places as (

    select * from {{ ref('dim_geography') }}

),

totals as (

    select * from {{ ref('int_geography_totals') }}

),

customers as (

    select * from {{ ref('dim_customers') }}
    where is_current

),

customer_totals as (

    select * from {{ ref('int_customer_totals') }}

),

-- Orders are where their customer lived when they were placed, customers where they live now: each is counted once.

residents as (

    select
        customers.source_system,
        {{ geography_key('customers.country', 'customers.state', 'customers.city') }} as geography_key,
        count(*) as customer_count,
        count(*) filter (where customer_totals.order_count > 0) as buyer_count
    from customers
    left join customer_totals
        on customers.source_system = customer_totals.source_system
        and customers.customer_id = customer_totals.customer_id
    group by customers.source_system, geography_key

),

united as (

    select
        source_system,
        geography_key::uuid as geography_key,
        {% for measure in additive_measures() -%}
        {{ measure }},
        {% endfor -%}
        0 as customer_count,
        0 as buyer_count
    from totals

    union all

    select
        source_system,
        geography_key,
        {% for measure in additive_measures() -%}
        0 as {{ measure }},
        {% endfor -%}
        customer_count,
        buyer_count
    from residents

),

-- Each place is in one city, one state and one country; where one of them is unknown, so is what lies below it.

placed as (

    select
        united.*,
        levels.level,
        places.country,
        case when levels.level in ('state', 'city') then places.state end as state,
        case when levels.level = 'city' then places.city end as city
    from united
    inner join places on united.geography_key = places.geography_key
    cross join (values ('country'), ('state'), ('city')) as levels (level)

),

summed as (

    select
        source_system,
        level,
        country,
        state,
        city,
        {{ sum_measures(added) }}
    from placed
    group by source_system, level, country, state, city

),

measured as (

    select
        *,
        {{ geography_key('country', 'state', 'city') }} as geography_key,
        {{ net_amount('gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount') }} as net_amount,
        {{ known_kept_cost() }} as kept_cost_amount
    from summed

),

final as (

    select
        -- ids
        measured.source_system,
        measured.level,
        measured.geography_key,

        -- text
        measured.country,
        measured.state,
        measured.city,
        {{ source_currency('measured.source_system') }} as currency,

        -- numbers
        measured.customer_count,
        measured.buyer_count,
        measured.order_count,
        measured.cancelled_order_count,
        measured.unit_count,
        measured.returned_unit_count,
        measured.gross_amount,
        measured.discount_amount,
        measured.cancelled_amount,
        measured.refund_amount,
        measured.net_amount::numeric(18, 4) as net_amount,
        measured.kept_cost_amount::numeric(18, 4) as cost_amount,
        (measured.net_amount - measured.kept_cost_amount)::numeric(18, 4) as margin_amount,
        {{ ratio('measured.net_amount - measured.kept_cost_amount', 'measured.net_amount') }} as margin_rate,
        {{ average_order_value(
            'measured.gross_amount', 'measured.discount_amount', 'measured.order_count'
        ) }}::numeric(18, 4) as average_order_value,
        {{ ratio('measured.refund_amount', 'measured.gross_amount - measured.discount_amount') }} as refund_rate,
        {{ ratio('measured.net_amount', 'sum(measured.net_amount) over by_level') }} as net_share,
        rank() over (
            partition by measured.source_system, measured.level
            order by measured.net_amount desc
        )::integer as net_rank,

        -- booleans
        num_nonnulls(measured.country, measured.state, measured.city) = 0 as is_unknown
    from measured
    window by_level as (partition by measured.source_system, measured.level)

)

select * from final
