-- What was entered and left in turn ends where the customer is now: moves can be replayed.

with

last_moves as (

    select distinct on (source_system, customer_id)
        source_system,
        customer_id,
        to_segment
    from {{ ref('segment_migrations') }}
    order by source_system asc, customer_id asc, snapshot_date desc

),

customers as (

    select * from {{ ref('customer_summary') }}

)

select
    source_system,
    customer_id,
    last_moves.to_segment,
    customers.rfm_segment
from customers
full join last_moves using (source_system, customer_id)
where last_moves.to_segment is distinct from customers.rfm_segment
