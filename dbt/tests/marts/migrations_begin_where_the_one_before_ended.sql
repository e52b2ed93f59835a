with

moves as (

    select
        *,
        lag(to_segment) over (
            partition by source_system, customer_id
            order by snapshot_date
        ) as segment_before
    from {{ ref('segment_migrations') }}

)

select
    source_system,
    customer_id,
    snapshot_date
from moves
where from_segment is distinct from segment_before
