-- Active customers of all cohorts are the customers of the month, their net that of all customers with an order.

with

cohort_totals as (

    select
        source_system,
        sum(active_customer_count) as customer_months,
        sum(order_count) as order_count,
        sum(net_amount) as net_amount
    from {{ ref('cohort_analysis') }}
    group by source_system

),

months as (

    select
        source_system,
        sum(customer_count) as customer_months
    from {{ ref('sales_summary') }}
    where period_type = 'month'
    group by source_system

),

customers as (

    select
        source_system,
        sum(order_count) as order_count,
        sum(net_amount) as net_amount
    from {{ ref('customer_summary') }}
    where order_count > 0
    group by source_system

)

select
    source_system,
    cohort_totals.customer_months,
    months.customer_months as expected_customer_months,
    cohort_totals.net_amount,
    customers.net_amount as expected_net_amount
from months
inner join customers using (source_system)
left join cohort_totals using (source_system)
where (cohort_totals.customer_months, cohort_totals.order_count, cohort_totals.net_amount)
    is distinct from (months.customer_months, customers.order_count, customers.net_amount)
