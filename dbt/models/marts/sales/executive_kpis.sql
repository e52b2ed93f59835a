{{ config(unique_key=['source_system', 'kpi']) }}

{%- set kpis = [
    'net_revenue', 'gross_revenue', 'margin', 'margin_rate', 'order_count', 'average_order_value', 'customer_count',
    'new_customer_count', 'returning_customer_share', 'cancellation_rate', 'refund_rate', 'conversion_rate',
    'payment_failure_rate', 'on_time_share', 'average_days_to_deliver',
] %}

with

monthly_metrics as (

    select * from {{ ref('monthly_metrics') }}

),

conversion_funnel as (

    select * from {{ ref('conversion_funnel') }}

),

payment_methods as (

    select * from {{ ref('payment_method_analysis') }}

),

fulfilment as (

    select * from {{ ref('fulfilment_performance') }}

),

sales_days as (

    select * from {{ ref('int_sales_day') }}

),

catalogue as (

    select * from {{ ref('kpi_catalogue') }}

),

first_days as (

    select
        source_system,
        min(day) as first_day
    from sales_days
    group by source_system

),

visits as (

    select
        source_system,
        month,
        {{ ratio('sum(purchase_session_count)', 'sum(session_count)') }} as conversion_rate
    from conversion_funnel
    group by source_system, month

),

payments as (

    select
        source_system,
        month,
        {{ ratio('sum(failed_attempt_count)', 'sum(attempt_count)') }} as payment_failure_rate
    from payment_methods
    group by source_system, month

),

deliveries as (

    select
        source_system,
        month,
        {{ ratio(
            'sum(on_time_order_count)', 'sum(on_time_order_count + late_order_count + overdue_order_count)'
        ) }} as on_time_share,
        round(sum(order_to_delivery_seconds) / nullif(sum(delivered_order_count) * 86400, 0), 4)
            as average_days_to_deliver
    from fulfilment
    group by source_system, month

),

-- The latest complete month; of a shop that has none yet, its latest.

shown as (

    select
        monthly_metrics.source_system,
        coalesce(
            max(monthly_metrics.month) filter (where monthly_metrics.is_complete), max(monthly_metrics.month)
        ) as month
    from monthly_metrics
    group by monthly_metrics.source_system

),

-- That month, the month before and the same month a year before; a month that began before the shop's first day is
-- compared with nothing.

compared as (

    select
        shown.source_system,
        periods.period,
        (shown.month - periods.distance)::date as month
    from shown
    inner join first_days on shown.source_system = first_days.source_system
    cross join (
        values ('shown', interval '0'), ('previous', interval '1 month'), ('year_ago', interval '1 year')
    ) as periods (period, distance)
    where periods.period = 'shown' or (shown.month - periods.distance)::date >= first_days.first_day

),

measured as (

    select
        compared.source_system,
        compared.period,
        monthly_metrics.month,
        monthly_metrics.month_end,
        monthly_metrics.currency,
        monthly_metrics.is_complete,
        monthly_metrics.net_amount as net_revenue,
        monthly_metrics.gross_amount as gross_revenue,
        monthly_metrics.margin_amount as margin,
        monthly_metrics.margin_rate,
        monthly_metrics.order_count,
        monthly_metrics.average_order_value,
        monthly_metrics.customer_count,
        monthly_metrics.new_customer_count,
        monthly_metrics.returning_customer_share,
        monthly_metrics.cancellation_rate,
        monthly_metrics.refund_rate,
        visits.conversion_rate,
        payments.payment_failure_rate,
        deliveries.on_time_share,
        deliveries.average_days_to_deliver
    from compared
    inner join monthly_metrics
        on compared.source_system = monthly_metrics.source_system
        and compared.month = monthly_metrics.month
    left join visits
        on compared.source_system = visits.source_system
        and compared.month = visits.month
    left join payments
        on compared.source_system = payments.source_system
        and compared.month = payments.month
    left join deliveries
        on compared.source_system = deliveries.source_system
        and compared.month = deliveries.month

),

long as (

    select
        measured.source_system,
        kpis.kpi,
        max(measured.currency) filter (where measured.period = 'shown') as currency,
        max(measured.month) filter (where measured.period = 'shown') as period_start,
        max(measured.month_end) filter (where measured.period = 'shown') as period_end,
        bool_or(measured.is_complete) filter (where measured.period = 'shown') as is_complete,
        max(kpis.value) filter (where measured.period = 'shown') as value,
        max(kpis.value) filter (where measured.period = 'previous') as previous_value,
        max(kpis.value) filter (where measured.period = 'year_ago') as year_ago_value
    from measured
    cross join lateral (
        values
        {%- for kpi in kpis %}
            ('{{ kpi }}', measured.{{ kpi }}::numeric){{ ',' if not loop.last }}
        {%- endfor %}
    ) as kpis (kpi, value)
    group by measured.source_system, kpis.kpi

),

final as (

    select
        -- ids
        long.source_system,
        long.kpi,

        -- text
        catalogue.label,
        catalogue.unit,
        long.currency,

        -- dates
        long.period_start,
        long.period_end,

        -- numbers
        catalogue.kpi_rank,
        long.value::numeric(28, 10) as value,
        long.previous_value::numeric(28, 10) as previous_value,
        long.year_ago_value::numeric(28, 10) as year_ago_value,
        (long.value - long.previous_value)::numeric(28, 10) as change_value,
        (
            case
                when long.is_complete and long.previous_value > 0
                    then {{ ratio('long.value - long.previous_value', 'long.previous_value') }}
            end
        )::numeric(20, 10) as change_rate,
        (
            case
                when long.is_complete and long.year_ago_value > 0
                    then {{ ratio('long.value - long.year_ago_value', 'long.year_ago_value') }}
            end
        )::numeric(20, 10) as year_on_year_rate,

        -- booleans
        case
            when long.is_complete and long.value <> long.previous_value
                then (long.value > long.previous_value) = catalogue.is_higher_better
        end as is_improvement,
        long.is_complete
    from long
    inner join catalogue on long.kpi = catalogue.kpi

)

select * from final
