-- All orders are those of sales_summary in each month; what was delivered, is open or is overdue is no more than what stands.

with

fulfilment as (

    select
        source_system,
        month,
        sum(order_count) as order_count,
        bool_and(
            delivered_order_count + open_order_count <= order_count - cancelled_order_count
            and on_time_order_count + late_order_count <= delivered_order_count
            and overdue_order_count <= open_order_count
            and tracked_order_count <= least(shipped_order_count, delivered_order_count)
        ) as is_consistent
    from {{ ref('fulfilment_performance') }}
    group by source_system, month

),

sales as (

    select
        source_system,
        period_start as month,
        order_count
    from {{ ref('sales_summary') }}
    where period_type = 'month'

)

select
    source_system,
    month,
    fulfilment.order_count,
    sales.order_count as all_order_count
from fulfilment
full join sales using (source_system, month)
where coalesce(fulfilment.order_count, 0) <> coalesce(sales.order_count, 0)
    or not fulfilment.is_consistent
