-- No row is multiplied or lost, and what the channels sold together is all that the shop sold.

with

days as (

    select
        source_system,
        sum(click_count) as click_count,
        sum(session_count) as session_count,
        sum(order_count) as order_count,
        sum(conversion_value) as conversion_value,
        sum(net_amount) as net_amount,
        count(*) filter (where is_outlier) as outlier_day_count
    from {{ ref('channel_performance_daily') }}
    group by source_system

),

periods as (

    select
        source_system,
        period_type,
        sum(click_count) as click_count,
        sum(session_count) as session_count,
        sum(order_count) as order_count,
        sum(conversion_value) as conversion_value,
        sum(net_amount) as net_amount,
        sum(outlier_day_count) as outlier_day_count,
        sum(new_customer_count) as new_customer_count
    from {{ ref('channel_performance') }}
    group by source_system, period_type

),

sales as (

    select
        source_system,
        sum(order_count) as order_count,
        sum(gross_amount - discount_amount) as order_amount,
        sum(net_amount) as net_amount
    from {{ ref('sales_summary') }}
    where period_type = 'month'
    group by source_system

),

customers as (

    select
        source_system,
        sum(new_customer_count) as new_customer_count
    from {{ ref('customer_acquisition') }}
    group by source_system

)

select
    days.source_system,
    periods.period_type,
    days.net_amount,
    periods.net_amount as period_net_amount,
    sales.net_amount as sales_net_amount
from days
inner join sales on days.source_system = sales.source_system
left join periods on days.source_system = periods.source_system
left join customers on days.source_system = customers.source_system
where
    (
        days.click_count, days.session_count, days.order_count, days.conversion_value, days.net_amount,
        days.outlier_day_count, coalesce(customers.new_customer_count, 0)
    ) is distinct from (
        periods.click_count, periods.session_count, periods.order_count, periods.conversion_value, periods.net_amount,
        periods.outlier_day_count, periods.new_customer_count
    )
    or (days.order_count, days.conversion_value, days.net_amount)
    is distinct from (sales.order_count, sales.order_amount, sales.net_amount)
