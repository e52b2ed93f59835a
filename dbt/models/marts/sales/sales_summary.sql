{{ config(unique_key=['source_system', 'period_type', 'period_start']) }}

with

sales_days as (

    select * from {{ ref('int_sales_day') }}

),

period_customers as (

    select * from {{ ref('int_period_customers') }}

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

-- Running totals are taken per day; a period has those of its last active day.

running_days as (

    select
        source_system,
        day,
        sum({{ net_amount('gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount') }}) over (
            partition by source_system
            order by day
        ) as running_net_amount,
        sum({{ net_amount('gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount') }}) over (
            partition by source_system, extract(year from day)
            order by day
        ) as year_to_date_net_amount,
        sum(order_count) over (
            partition by source_system, extract(year from day)
            order by day
        ) as year_to_date_order_count,
        min(day) over (partition by source_system) as first_day
    from sales_days

),

-- Each day belongs to one day, one ISO week, one month and one quarter: no row is multiplied within a period type.

day_periods as (

    select
        sales_days.*,
        period_types.period_type,
        date_trunc(period_types.period_type, sales_days.day::timestamp)::date as period_start
    from sales_days
    cross join (values ('day'), ('week'), ('month'), ('quarter')) as period_types (period_type)

),

summed as (

    select
        source_system,
        period_type,
        period_start,
        min(currency) as currency,
        max(day) as last_active_day,
        count(*) as active_day_count,
        {{ sum_measures() }},
        sum(guest_order_count)::bigint as guest_order_count,
        sum(guest_net_amount) as guest_net_amount
    from day_periods
    group by source_system, period_type, period_start

),

measured as (

    select
        *,
        {{ net_amount('gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount') }} as net_amount,
        {{ known_kept_cost() }} as kept_cost_amount,
        (
            period_start + case period_type
                when 'day' then interval '1 day'
                when 'week' then interval '1 week'
                when 'month' then interval '1 month'
                when 'quarter' then interval '3 months'
            end
        )::date - 1 as period_end,
        -- a weekday is compared with a weekday: a year is 52 weeks there
        case
            when period_type in ('day', 'week') then period_start - 364
            else (period_start - interval '1 year')::date
        end as year_ago_start
    from summed

),

-- The year before a shop's first day is unknown; after it, a period without activity is a period without sales.

compared as (

    select
        measured.*,
        running_days.running_net_amount,
        running_days.year_to_date_net_amount,
        running_days.year_to_date_order_count,
        case
            when measured.year_ago_start >= running_days.first_day then coalesce(year_ago.net_amount, 0)
        end as year_ago_net_amount,
        case
            when measured.year_ago_start >= running_days.first_day then coalesce(year_ago.order_count, 0)
        end as year_ago_order_count,
        measured.period_end <= as_of.as_of_date as is_complete
    from measured
    inner join running_days
        on measured.source_system = running_days.source_system
        and measured.last_active_day = running_days.day
    left join measured as year_ago
        on measured.source_system = year_ago.source_system
        and measured.period_type = year_ago.period_type
        and measured.year_ago_start = year_ago.period_start
    left join as_of on measured.source_system = as_of.source_system

),

final as (

    select
        -- ids
        compared.source_system,
        compared.period_type,
        compared.period_start,

        -- text
        compared.currency,

        -- dates
        compared.period_end,

        -- numbers
        compared.active_day_count,
        compared.order_count,
        compared.cancelled_order_count,
        compared.guest_order_count,
        coalesce(period_customers.customer_count, 0) as customer_count,
        compared.unit_count,
        compared.cancelled_unit_count,
        compared.returned_unit_count,
        compared.gross_amount::numeric(18, 4) as gross_amount,
        compared.discount_amount::numeric(18, 4) as discount_amount,
        compared.cancelled_amount::numeric(18, 4) as cancelled_amount,
        compared.refund_amount::numeric(18, 4) as refund_amount,
        compared.net_amount::numeric(18, 4) as net_amount,
        compared.fee_amount::numeric(18, 4) as fee_amount,
        compared.adjustment_amount::numeric(18, 4) as adjustment_amount,
        compared.shipping_amount::numeric(18, 4) as shipping_amount,
        compared.tax_amount::numeric(18, 4) as tax_amount,
        compared.kept_cost_amount::numeric(18, 4) as cost_amount,
        (compared.net_amount - compared.kept_cost_amount)::numeric(18, 4) as margin_amount,
        round((compared.net_amount - compared.kept_cost_amount) / nullif(compared.net_amount, 0), 6)::numeric(18, 6)
            as margin_rate,
        {{ average_order_value(
            'compared.gross_amount', 'compared.discount_amount', 'compared.order_count'
        ) }}::numeric(18, 4) as average_order_value,
        compared.guest_net_amount::numeric(18, 4) as guest_net_amount,
        round(compared.guest_order_count::numeric / nullif(compared.order_count, 0), 6)::numeric(18, 6)
            as guest_order_share,
        compared.running_net_amount::numeric(18, 4) as running_net_amount,
        compared.year_to_date_net_amount::numeric(18, 4) as year_to_date_net_amount,
        compared.year_to_date_order_count::bigint as year_to_date_order_count,
        compared.year_ago_net_amount::numeric(18, 4) as year_ago_net_amount,
        compared.year_ago_order_count::bigint as year_ago_order_count,
        (
            case
                when compared.is_complete and compared.year_ago_net_amount > 0
                    then {{ ratio('compared.net_amount - compared.year_ago_net_amount', 'compared.year_ago_net_amount') }}
            end
        )::numeric(20, 10) as net_year_on_year_rate,

        -- booleans
        compared.is_complete
    from compared
    left join period_customers
        on compared.source_system = period_customers.source_system
        and compared.period_type = period_customers.period_type
        and compared.period_start = period_customers.period_start

)

select * from final
