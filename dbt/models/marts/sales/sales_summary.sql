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
        )::date - 1 as period_end
    from summed

),

final as (

    select
        -- ids
        measured.source_system,
        measured.period_type,
        measured.period_start,

        -- text
        measured.currency,

        -- dates
        measured.period_end,

        -- numbers
        measured.active_day_count,
        measured.order_count,
        measured.cancelled_order_count,
        measured.guest_order_count,
        coalesce(period_customers.customer_count, 0) as customer_count,
        measured.unit_count,
        measured.cancelled_unit_count,
        measured.returned_unit_count,
        measured.gross_amount::numeric(18, 4) as gross_amount,
        measured.discount_amount::numeric(18, 4) as discount_amount,
        measured.cancelled_amount::numeric(18, 4) as cancelled_amount,
        measured.refund_amount::numeric(18, 4) as refund_amount,
        measured.net_amount::numeric(18, 4) as net_amount,
        measured.fee_amount::numeric(18, 4) as fee_amount,
        measured.adjustment_amount::numeric(18, 4) as adjustment_amount,
        measured.shipping_amount::numeric(18, 4) as shipping_amount,
        measured.tax_amount::numeric(18, 4) as tax_amount,
        measured.kept_cost_amount::numeric(18, 4) as cost_amount,
        (measured.net_amount - measured.kept_cost_amount)::numeric(18, 4) as margin_amount,
        round((measured.net_amount - measured.kept_cost_amount) / nullif(measured.net_amount, 0), 6)::numeric(18, 6)
            as margin_rate,
        {{ average_order_value(
            'measured.gross_amount', 'measured.discount_amount', 'measured.order_count'
        ) }}::numeric(18, 4) as average_order_value,
        measured.guest_net_amount::numeric(18, 4) as guest_net_amount,
        round(measured.guest_order_count::numeric / nullif(measured.order_count, 0), 6)::numeric(18, 6)
            as guest_order_share,

        -- booleans
        measured.period_end <= as_of.as_of_date as is_complete
    from measured
    left join period_customers
        on measured.source_system = period_customers.source_system
        and measured.period_type = period_customers.period_type
        and measured.period_start = period_customers.period_start
    left join as_of on measured.source_system = as_of.source_system

)

select * from final
