-- What each step of each run cost; of several tries of a step all are here.

with

steps as (

    select * from {{ source('ops', 'run_steps') }}

)

select

    ---------- ids
    run_step_id,
    run_id,

    ---------- text
    step,

    ---------- numbers
    row_number() over (partition by run_id, step order by run_step_id) as try_number,
    round(extract(epoch from finished_at - started_at), 3)::numeric(18, 3) as duration_seconds,
    peak_memory_bytes,
    row_count,

    ---------- booleans
    is_success,

    ---------- times
    started_at,
    finished_at

from steps
