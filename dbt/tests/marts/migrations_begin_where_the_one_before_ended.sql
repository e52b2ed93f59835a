-- Of the customers who moved on a touched day; a sort of everybody's moves would grow with every month.

with

touched_customers as (

    select distinct source_system, customer_id from {{ ref('segment_migrations') }}
    where {{ is_day_touched('segment_migrations', 'snapshot_date') }}

),

moves as (

    select
        *,
        lag(to_segment) over (
            partition by source_system, customer_id
            order by snapshot_date
        ) as segment_before
    from {{ ref('segment_migrations') }}
    where (source_system, customer_id) in (select source_system, customer_id from touched_customers)

)

select
    source_system,
    customer_id,
    snapshot_date
from moves
where from_segment is distinct from segment_before
