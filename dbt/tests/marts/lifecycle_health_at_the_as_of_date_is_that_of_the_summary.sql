-- Where the as-of date is a month-end both tables speak about the same day.

with

snapshots as (

    select * from {{ ref('customer_lifecycle_snapshot') }}
    where {{ is_day_touched('customer_lifecycle_snapshot', 'month_end') }}

),

customers as (

    select * from {{ ref('customer_summary') }}

)

select
    snapshots.source_system,
    snapshots.customer_id,
    snapshots.health_score,
    customers.health_score as expected_health_score
from snapshots
inner join customers
    on snapshots.source_system = customers.source_system
    and snapshots.customer_id = customers.customer_id
    and snapshots.month_end = customers.as_of_date
where customers.last_order_date <= customers.as_of_date
    and (snapshots.health_score, snapshots.net_amount, snapshots.order_count)
    is distinct from (customers.health_score, customers.net_amount, customers.order_count)
