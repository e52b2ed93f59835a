-- Of the moves on a touched day, by index: each customer's one before and the one after.

with

moves as (

    select * from {{ ref('segment_migrations') }}
    where {{ is_day_touched('segment_migrations', 'snapshot_date') }}

),

neighbours as (

    select
        moves.*,
        move_before.to_segment as segment_before,
        move_after.from_segment as segment_after,
        move_after.snapshot_date is not null as has_move_after
    from moves
    left join lateral (
        select earlier.to_segment from {{ ref('segment_migrations') }} as earlier
        where
            earlier.source_system = moves.source_system
            and earlier.customer_id = moves.customer_id
            and earlier.snapshot_date < moves.snapshot_date
        order by earlier.snapshot_date desc
        limit 1
    ) as move_before on true
    left join lateral (
        select
            later.from_segment,
            later.snapshot_date
        from {{ ref('segment_migrations') }} as later
        where
            later.source_system = moves.source_system
            and later.customer_id = moves.customer_id
            and later.snapshot_date > moves.snapshot_date
        order by later.snapshot_date asc
        limit 1
    ) as move_after on true

)

select
    source_system,
    customer_id,
    snapshot_date
from neighbours
where
    from_segment is distinct from segment_before
    or (has_move_after and to_segment is distinct from segment_after)
