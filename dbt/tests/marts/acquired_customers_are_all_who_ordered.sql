-- Each customer with an order was acquired once; what they brought since is what the customer summary says they did.

with

acquired as (

    select
        source_system,
        acquisition_month,
        sum(new_customer_count) as customer_count,
        sum(order_count) as order_count,
        sum(net_amount) as net_amount
    from {{ ref('customer_acquisition') }}
    where new_customer_count > 0
    group by source_system, acquisition_month

),

customers as (

    select
        source_system,
        date_trunc('month', first_order_date::timestamp)::date as acquisition_month,
        count(*) as customer_count,
        sum(order_count) as order_count,
        sum(net_amount) as net_amount
    from {{ ref('customer_summary') }}
    where first_order_date is not null
        and {{ has_marketing('source_system') }}
    group by source_system, acquisition_month

)

select
    coalesce(customers.source_system, acquired.source_system) as source_system,
    coalesce(customers.acquisition_month, acquired.acquisition_month) as acquisition_month,
    customers.net_amount,
    acquired.net_amount as acquired_net_amount
from customers
full join acquired
    on customers.source_system = acquired.source_system
    and customers.acquisition_month = acquired.acquisition_month
where (customers.customer_count, customers.order_count, customers.net_amount)
    is distinct from (acquired.customer_count, acquired.order_count, acquired.net_amount)
