-- Everybody with an order that stands is in exactly one segment, and nobody else is in any.

with

segments as (

    select * from {{ ref('customer_segmentation') }}

),

customers as (

    select * from {{ ref('customer_summary') }}
    where frequency > 0

)

select
    source_system,
    customer_id
from segments
full join customers using (source_system, customer_id)
where segments.segment is distinct from customers.rfm_segment
    or segments.segment is null
