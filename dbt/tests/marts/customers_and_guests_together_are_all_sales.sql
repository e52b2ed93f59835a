with

customers as (

    select
        source_system,
        sum(net_amount) as net_amount,
        sum(order_count) as order_count
    from {{ ref('customer_summary') }}
    group by source_system

),

sales as (

    select
        source_system,
        sum(net_amount) as net_amount,
        sum(guest_net_amount) as guest_net_amount,
        sum(order_count) as order_count,
        sum(guest_order_count) as guest_order_count
    from {{ ref('sales_summary') }}
    where period_type = 'day'
    group by source_system

)

select
    source_system,
    customers.net_amount,
    sales.guest_net_amount,
    sales.net_amount as all_net_amount
from sales
left join customers using (source_system)
where coalesce(customers.net_amount, 0) + sales.guest_net_amount <> sales.net_amount
    or coalesce(customers.order_count, 0) + sales.guest_order_count <> sales.order_count
