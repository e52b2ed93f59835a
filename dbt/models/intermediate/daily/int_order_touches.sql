{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'order_id'],
        meta={'touched': {'key': 'order_id', 'days': ['order_date']}},
        indexes=[
            {'columns': ['source_system', 'order_id'], 'unique': True},
            {'columns': ['source_system', 'last_touch_session_id']},
            {'columns': ['order_date']},
        ],
    )
}}

{%- set window = open_window() -%}
{%- set touched_query -%}
    select source_system, key as order_id, day as order_date from ({{ touched_by(window, 'fact_orders') }}) as orders
    union all
    -- orders that a touched visit names, or was the last touch of
    select orders.source_system, orders.order_id, orders.order_date
    from ({{ touched_by(window, 'fact_sessions') }}) as touched_sessions
    inner join {{ ref('fact_sessions') }} as sessions
        on touched_sessions.source_system = sessions.source_system
        and touched_sessions.key = sessions.session_id
        and touched_sessions.day = sessions.session_date
    inner join {{ ref('fact_orders') }} as orders
        on sessions.source_system = orders.source_system
        and sessions.order_id = orders.order_id
    union all
    select own.source_system, own.order_id, own.order_date
    from ({{ touched_by(window, 'fact_sessions') }}) as touched_sessions
    inner join {{ this }} as own
        on touched_sessions.source_system = own.source_system
        and touched_sessions.key = own.last_touch_session_id
    union all
    -- orders that followed a touched visit of their customer
    select orders.source_system, orders.order_id, orders.order_date
    from ({{ touched_by(window, 'fact_sessions') }}) as touched_sessions
    inner join {{ ref('fact_orders') }} as orders
        on touched_sessions.source_system = orders.source_system
        and touched_sessions.customer_id = orders.customer_id
        and orders.order_date >= touched_sessions.day
        and orders.order_date <= touched_sessions.day + {{ touch_lookback_days() }} + 1
    union all
    -- all orders of a customer whose first touch is another one now
    select orders.source_system, orders.order_id, orders.order_date
    from ({{ touched_by(window, 'int_customer_acquisition') }}) as customers
    inner join {{ ref('fact_orders') }} as orders
        on customers.source_system = orders.source_system
        and customers.customer_id = orders.customer_id
{%- endset -%}
{%- set touched = touched_keys(
    window, ['source_system', 'order_id', 'order_date'], touched_query, days=['order_date']
) -%}
{%- set customers_query -%}
    select source_system, customer_id from {{ ref('fact_orders') }} where {{ is_touched(touched) }}
{%- endset -%}
{%- set touched_customers = touched_keys(
    window, ['source_system', 'customer_id'], customers_query, name='customers'
) -%}
{#- Literal bounds of the days in which a last touch can lie, so that partitions are pruned. -#}
{%- set order_dates = [] -%}
{%- if touched.mode == 'some' -%}
    {%- for lists in touched.sources.values() -%}{%- do order_dates.extend(lists['order_date']) -%}{%- endfor -%}
{%- endif %}

with

orders as (

    select
        source_system,
        order_id,
        order_date,
        ordered_at,
        customer_id
    from {{ ref('fact_orders') }}
    where {{ is_touched(touched) }}

),

naming_sessions as (

    select * from {{ ref('fact_sessions') }}
    where order_id is not null
        and {{ is_touched(touched, columns=['source_system', 'order_id']) }}

),

customer_sessions as (

    select * from {{ ref('fact_sessions') }}
    where customer_id is not null
        and {{ is_touched(touched_customers) }}
        {%- if order_dates %}
        and session_date >= date '{{ order_dates | min }}' - {{ touch_lookback_days() }} - 1
        and session_date <= date '{{ order_dates | max }}'
        {%- endif %}

),

acquisitions as (

    select * from {{ ref('int_customer_acquisition') }}
    where {{ is_touched(touched_customers) }}

),

-- The visit in which an order was placed names it.

own_visits as (

    select distinct on (source_system, order_id)
        source_system,
        order_id,
        session_id,
        channel,
        campaign
    from naming_sessions
    order by source_system asc, order_id asc, started_at desc, session_id collate "C" desc

),

-- The last visit before each order, in one pass over visits and orders in their order of time.

moments as (

    select
        source_system,
        customer_id,
        null::text as order_id,
        started_at as happened_at,
        true as is_visit
    from customer_sessions

    union all

    select
        source_system,
        customer_id,
        order_id,
        ordered_at,
        false
    from orders
    where customer_id is not null

),

preceded as (

    select
        *,
        max(happened_at) filter (where is_visit) over (
            partition by source_system, customer_id
            order by happened_at asc
            range between unbounded preceding and current row
        ) as visited_at
    from moments

),

earlier_visits as (

    select distinct on (preceded.source_system, preceded.order_id)
        preceded.source_system,
        preceded.order_id,
        customer_sessions.session_id,
        customer_sessions.channel,
        customer_sessions.campaign
    from preceded
    inner join customer_sessions
        on preceded.source_system = customer_sessions.source_system
        and preceded.customer_id = customer_sessions.customer_id
        and preceded.visited_at = customer_sessions.started_at
    where not preceded.is_visit
        and preceded.visited_at >= preceded.happened_at - make_interval(hours => 24 * {{ touch_lookback_days() }})
    order by preceded.source_system asc, preceded.order_id asc, customer_sessions.session_id collate "C" desc

),

touches as (

    select
        orders.source_system,
        orders.order_id,
        orders.order_date,
        orders.customer_id,
        own_visits.session_id is not null as is_tracked,
        coalesce(own_visits.session_id, earlier_visits.session_id) as last_touch_session_id,
        case
            when own_visits.session_id is not null then own_visits.channel
            else coalesce(earlier_visits.channel, 'unknown')
        end as last_touch_channel,
        case
            when own_visits.session_id is not null then own_visits.campaign
            else earlier_visits.campaign
        end as last_touch_campaign,
        -- a first visit after this order was no touch of it
        coalesce(acquisitions.is_recorded or acquisitions.first_touch_at <= orders.ordered_at, false)
            as has_known_first_touch,
        acquisitions.first_touch_channel,
        acquisitions.first_touch_campaign,
        own_visits.channel as own_channel,
        own_visits.campaign as own_campaign
    from orders
    left join own_visits
        on orders.source_system = own_visits.source_system
        and orders.order_id = own_visits.order_id
    left join earlier_visits
        on orders.source_system = earlier_visits.source_system
        and orders.order_id = earlier_visits.order_id
    left join acquisitions
        on orders.source_system = acquisitions.source_system
        and orders.customer_id = acquisitions.customer_id

),

final as (

    select
        -- ids
        source_system,
        order_id,
        customer_id,
        last_touch_session_id,

        -- text
        case
            when has_known_first_touch then first_touch_channel
            else coalesce(own_channel, 'unknown')
        end as first_touch_channel,
        coalesce(
            case when has_known_first_touch then first_touch_campaign else own_campaign end, {{ no_campaign() }}
        ) as first_touch_campaign,
        last_touch_channel,
        coalesce(last_touch_campaign, {{ no_campaign() }}) as last_touch_campaign,

        -- booleans
        is_tracked,

        -- dates
        order_date
    from touches

)

select * from final
