with

lifetimes as (

    select
        source_system,
        count(*) as customer_count,
        sum(historic_gross_amount) as gross_amount,
        sum(historic_net_amount) as net_amount,
        sum(historic_margin_amount) as margin_amount
    from {{ ref('customer_ltv_analysis') }}
    group by source_system

),

customers as (

    select
        source_system,
        count(*) as customer_count,
        sum(gross_amount) as gross_amount,
        sum(net_amount) as net_amount,
        sum(margin_amount) as margin_amount
    from {{ ref('customer_summary') }}
    where frequency > 0
    group by source_system

)

select source_system
from lifetimes
full join customers using (source_system)
where (
    lifetimes.customer_count, lifetimes.gross_amount, lifetimes.net_amount, lifetimes.margin_amount
) is distinct from (
    customers.customer_count, customers.gross_amount, customers.net_amount, customers.margin_amount
)
