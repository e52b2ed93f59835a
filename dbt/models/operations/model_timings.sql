-- What each node of the dbt project takes, and whether it takes longer than it used to.

with

results as (

    select * from {{ source('ops', 'dbt_results') }}
    where status <> 'skipped'

),

runs as (

    select * from {{ source('ops', 'runs') }}

),

timed as (

    select
        results.*,
        coalesce(runs.is_full_refresh, false) as is_full_refresh,
        row_number() over (partition by results.node_id order by results.finished_at desc) as recency
    from results
    left join runs on results.run_id = runs.run_id

),

-- A full refresh takes what it takes: the usual time is that of daily runs, the last thirty of them.

usual as (

    select
        node_id,
        count(*) as usual_run_count,
        percentile_cont(0.5) within group (order by execution_seconds) as median_seconds,
        max(execution_seconds) as max_seconds
    from (
        select
            node_id,
            execution_seconds,
            row_number() over (partition by node_id order by finished_at desc) as recency
        from timed
        where not is_full_refresh
    ) as daily_runs
    where recency <= 30
    group by node_id

),

totals as (

    select
        node_id,
        count(*) as run_count,
        count(*) filter (where status in ('error', 'fail', 'runtime error')) as failed_count
    from timed
    group by node_id

)

select

    ---------- ids
    timed.node_id,

    ---------- text
    split_part(timed.node_id, '.', 3) as node_name,
    timed.resource_type,
    timed.layer,
    timed.status as last_status,
    timed.run_id as last_run_id,

    ---------- numbers
    totals.run_count,
    totals.failed_count,
    round(timed.execution_seconds::numeric, 3)::numeric(18, 3) as last_seconds,
    round(usual.median_seconds::numeric, 3)::numeric(18, 3) as median_seconds,
    round(usual.max_seconds::numeric, 3)::numeric(18, 3) as max_seconds,
    round((timed.execution_seconds / nullif(usual.median_seconds, 0))::numeric, 2)::numeric(18, 2) as last_to_median_ratio,
    rank() over (partition by timed.resource_type order by usual.median_seconds desc nulls last) as duration_rank,

    ---------- times
    timed.finished_at as last_finished_at

from timed
inner join totals on timed.node_id = totals.node_id
left join usual on timed.node_id = usual.node_id
where timed.recency = 1
