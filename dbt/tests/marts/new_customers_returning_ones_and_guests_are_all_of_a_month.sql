-- In each month to the cent; and every customer who ever ordered was new once.

with

metrics as (

    select * from {{ ref('monthly_metrics') }}

),

summary as (

    select * from {{ ref('sales_summary') }}
    where period_type = 'month'

),

customers as (

    select
        source_system,
        count(*) filter (where order_count > 0) as buyer_count
    from {{ ref('customer_summary') }}
    group by source_system

),

months as (

    select
        source_system,
        coalesce(metrics.month, summary.period_start) as month,
        'parts' as rule
    from metrics
    full join summary using (source_system)
    where metrics.month = summary.period_start
        and (
            metrics.new_customer_net_amount + metrics.returning_customer_net_amount + metrics.guest_net_amount
            <> summary.net_amount
            or metrics.new_customer_count + metrics.returning_customer_count <> summary.customer_count
            or metrics.new_customer_order_count + metrics.returning_customer_order_count + metrics.guest_order_count
            <> summary.order_count
        )

),

totals as (

    select
        source_system,
        sum(net_amount) as net_amount,
        sum(gross_amount) as gross_amount,
        sum(order_count) as order_count,
        sum(new_customer_count) as new_customer_count
    from metrics
    group by source_system

),

summary_totals as (

    select
        source_system,
        sum(net_amount) as net_amount,
        sum(gross_amount) as gross_amount,
        sum(order_count) as order_count
    from summary
    group by source_system

)

select * from months

union all

select
    source_system,
    null as month,
    'totals' as rule
from summary_totals
left join totals using (source_system)
left join customers using (source_system)
where (totals.net_amount, totals.gross_amount, totals.order_count, totals.new_customer_count) is distinct from (
    summary_totals.net_amount, summary_totals.gross_amount, summary_totals.order_count, coalesce(customers.buyer_count, 0)
)
