-- What was entered and left in turn ends where the customer is now: moves can be replayed. Every customer's last
-- move, by index: a sort of everybody's moves would grow with every month.

with

customers as (

    select * from {{ ref('customer_summary') }}

),

replayed as (

    select
        customers.source_system,
        customers.customer_id,
        customers.rfm_segment,
        last_move.to_segment
    from customers
    left join lateral (
        select moves.to_segment from {{ ref('segment_migrations') }} as moves
        where
            moves.source_system = customers.source_system
            and moves.customer_id = customers.customer_id
        order by moves.snapshot_date desc
        limit 1
    ) as last_move on true

)

select
    source_system,
    customer_id,
    to_segment,
    rfm_segment
from replayed
where to_segment is distinct from rfm_segment
