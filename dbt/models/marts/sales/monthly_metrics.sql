{{ config(unique_key=['source_system', 'month']) }}

with

sales_months as (

    select
        *,
        period_start as month
    from {{ ref('sales_summary') }}
    where period_type = 'month'

),

customer_kinds as (

    select * from {{ ref('int_customer_kind_month') }}

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

sales_days as (

    select * from {{ ref('int_sales_day') }}

),

shops as (

    select
        source_system,
        min(currency) as currency,
        min(day) as first_day,
        max(day) as last_day
    from sales_days
    group by source_system

),

-- Every month has a row, also one without activity, so that the row before is the month before.

calendar as (

    select
        shops.source_system,
        shops.currency,
        shops.first_day,
        as_of.as_of_date,
        months.month::date as month,
        (months.month + interval '1 month')::date - 1 as month_end
    from shops
    inner join as_of on shops.source_system = as_of.source_system
    cross join lateral generate_series(
        date_trunc('month', shops.first_day::timestamp),
        greatest(as_of.as_of_date, shops.last_day)::timestamp,
        interval '1 month'
    ) as months (month)

),

measured as (

    select
        calendar.*,
        calendar.month_end <= calendar.as_of_date as is_complete,
        coalesce(sales_months.active_day_count, 0) as active_day_count,
        coalesce(sales_months.order_count, 0) as order_count,
        coalesce(sales_months.cancelled_order_count, 0) as cancelled_order_count,
        coalesce(sales_months.guest_order_count, 0) as guest_order_count,
        coalesce(sales_months.customer_count, 0) as customer_count,
        coalesce(customer_kinds.new_customer_count, 0) as new_customer_count,
        coalesce(customer_kinds.returning_customer_count, 0) as returning_customer_count,
        coalesce(customer_kinds.new_customer_order_count, 0) as new_customer_order_count,
        coalesce(customer_kinds.returning_customer_order_count, 0) as returning_customer_order_count,
        coalesce(sales_months.unit_count, 0) as unit_count,
        coalesce(sales_months.gross_amount, 0) as gross_amount,
        coalesce(sales_months.discount_amount, 0) as discount_amount,
        coalesce(sales_months.cancelled_amount, 0) as cancelled_amount,
        coalesce(sales_months.refund_amount, 0) as refund_amount,
        coalesce(sales_months.net_amount, 0) as net_amount,
        coalesce(customer_kinds.new_customer_net_amount, 0) as new_customer_net_amount,
        coalesce(customer_kinds.returning_customer_net_amount, 0) as returning_customer_net_amount,
        coalesce(sales_months.guest_net_amount, 0) as guest_net_amount,
        -- known to be nothing where nothing happened, else unknown where the month's is
        case when sales_months.month is null then 0 else sales_months.margin_amount end as margin_amount,
        sales_months.average_order_value
    from calendar
    left join sales_months
        on calendar.source_system = sales_months.source_system
        and calendar.month = sales_months.month
    left join customer_kinds
        on calendar.source_system = customer_kinds.source_system
        and calendar.month = customer_kinds.month

),

-- A month that began before the shop's first day is known in part and compared with nothing.

compared as (

    select
        *,
        case when lag(month) over by_month >= first_day then lag(net_amount) over by_month end as previous_net_amount,
        case when lag(month) over by_month >= first_day then lag(order_count) over by_month end as previous_order_count,
        case when lag(month, 12) over by_month >= first_day then lag(net_amount, 12) over by_month end
            as year_ago_net_amount,
        sum(net_amount) over (
            partition by source_system, extract(year from month)
            order by month
        ) as year_to_date_net_amount,
        sum(new_customer_count) over by_month as running_customer_count
    from measured
    window by_month as (partition by source_system order by month)

),

final as (

    select
        -- ids
        source_system,
        month,

        -- text
        currency,

        -- dates
        month_end,

        -- numbers: orders and customers
        active_day_count::bigint as active_day_count,
        order_count::bigint as order_count,
        cancelled_order_count::bigint as cancelled_order_count,
        guest_order_count::bigint as guest_order_count,
        new_customer_order_count::bigint as new_customer_order_count,
        returning_customer_order_count::bigint as returning_customer_order_count,
        customer_count::bigint as customer_count,
        new_customer_count::bigint as new_customer_count,
        returning_customer_count::bigint as returning_customer_count,
        running_customer_count::bigint as running_customer_count,
        unit_count::bigint as unit_count,

        -- numbers: money
        gross_amount::numeric(18, 4) as gross_amount,
        discount_amount::numeric(18, 4) as discount_amount,
        cancelled_amount::numeric(18, 4) as cancelled_amount,
        refund_amount::numeric(18, 4) as refund_amount,
        net_amount::numeric(18, 4) as net_amount,
        new_customer_net_amount::numeric(18, 4) as new_customer_net_amount,
        returning_customer_net_amount::numeric(18, 4) as returning_customer_net_amount,
        guest_net_amount::numeric(18, 4) as guest_net_amount,
        margin_amount::numeric(18, 4) as margin_amount,
        average_order_value::numeric(18, 4) as average_order_value,
        previous_net_amount::numeric(18, 4) as previous_net_amount,
        year_ago_net_amount::numeric(18, 4) as year_ago_net_amount,
        year_to_date_net_amount::numeric(18, 4) as year_to_date_net_amount,

        -- numbers: rates
        {{ ratio('margin_amount', 'net_amount') }} as margin_rate,
        {{ ratio('returning_customer_count', 'customer_count') }} as returning_customer_share,
        {{ ratio('cancelled_amount', 'gross_amount - discount_amount') }} as cancellation_rate,
        {{ ratio('refund_amount', 'gross_amount - discount_amount') }} as refund_rate,
        (
            case
                when is_complete and previous_net_amount > 0
                    then {{ ratio('net_amount - previous_net_amount', 'previous_net_amount') }}
            end
        )::numeric(20, 10) as net_growth_rate,
        (
            case
                when is_complete and previous_order_count > 0
                    then {{ ratio('order_count - previous_order_count', 'previous_order_count') }}
            end
        )::numeric(20, 10) as order_growth_rate,
        (
            case
                when is_complete and year_ago_net_amount > 0
                    then {{ ratio('net_amount - year_ago_net_amount', 'year_ago_net_amount') }}
            end
        )::numeric(20, 10) as net_year_on_year_rate,

        -- booleans
        is_complete
    from compared

)

select * from final
