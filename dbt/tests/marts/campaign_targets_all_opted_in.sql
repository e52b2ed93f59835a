with

targets as (

    select * from {{ ref('campaign_targets') }}

),

customers as (

    select * from {{ ref('customer_summary') }}

)

select
    targets.source_system,
    targets.customer_id
from targets
left join customers
    on targets.source_system = customers.source_system
    and targets.customer_id = customers.customer_id
where customers.is_marketing_opt_in is not true
