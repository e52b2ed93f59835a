-- What each run did, stage by stage: files, rows, tests, memory, time.

with

runs as (

    select * from {{ source('ops', 'runs') }}

),

files as (

    select
        run_id,
        count(*) filter (where status = 'loaded') as loaded_file_count,
        count(*) filter (where status = 'refused') as refused_file_count,
        sum(rows_read) as read_row_count,
        sum(rows_loaded) as loaded_row_count,
        sum(rows_rejected) as rejected_row_count
    from {{ source('raw', 'load_ledger') }}
    where run_id is not null
    group by run_id

),

nodes as (

    select
        run_id,
        count(*) filter (where resource_type = 'model' and status = 'success') as built_model_count,
        count(*) filter (where resource_type = 'test') as data_test_count,
        count(*) filter (where resource_type = 'test' and status in ('fail', 'error', 'warn')) as failed_data_test_count
    from {{ source('ops', 'dbt_results') }}
    group by run_id

),

expectations as (

    select
        run_id,
        count(*) as expectation_count,
        count(*) filter (where not is_success) as failed_expectation_count
    from {{ source('ops', 'expectation_results') }}
    group by run_id

),

publications as (

    select
        run_id,
        sum(rows_inserted + rows_updated + rows_deleted) as published_row_count
    from {{ source('ops', 'publications') }}
    group by run_id

),

last_tries as (

    select distinct on (run_id, step)
        *,
        round(extract(epoch from finished_at - started_at), 3) as duration_seconds
    from {{ source('ops', 'run_steps') }}
    order by run_id asc, step asc, run_step_id desc

),

steps as (

    select
        run_id,
        max(peak_memory_bytes) as peak_memory_bytes,
        sum(row_count) filter (where step in ('build_staging', 'build_warehouse')) as warehouse_row_count,
        sum(row_count) filter (where step = 'build_marts') as marts_row_count,
        jsonb_object_agg(
            step,
            jsonb_build_object(
                'seconds', duration_seconds,
                'peak_memory_bytes', peak_memory_bytes,
                'rows', row_count,
                'is_success', is_success
            )
        ) as steps
    from last_tries
    group by run_id

)

select

    ---------- ids
    runs.run_seq,
    runs.run_id,

    ---------- text
    runs.source as source_system,
    runs.status,
    runs.message,

    ---------- dates and times
    runs.business_date,
    runs.started_at,
    runs.finished_at,

    ---------- numbers
    round(extract(epoch from runs.finished_at - runs.started_at), 3)::numeric(18, 3) as duration_seconds,
    steps.peak_memory_bytes,
    coalesce(files.loaded_file_count, 0) as loaded_file_count,
    coalesce(files.refused_file_count, 0) as refused_file_count,
    coalesce(files.read_row_count, 0)::bigint as read_row_count,
    coalesce(files.loaded_row_count, 0)::bigint as loaded_row_count,
    coalesce(files.rejected_row_count, 0)::bigint as rejected_row_count,
    steps.warehouse_row_count::bigint as warehouse_row_count,
    steps.marts_row_count::bigint as marts_row_count,
    publications.published_row_count::bigint as published_row_count,
    coalesce(nodes.built_model_count, 0) as built_model_count,
    coalesce(nodes.data_test_count, 0) as data_test_count,
    coalesce(nodes.failed_data_test_count, 0) as failed_data_test_count,
    coalesce(expectations.expectation_count, 0) as expectation_count,
    coalesce(expectations.failed_expectation_count, 0) as failed_expectation_count,

    ---------- booleans
    runs.is_full_refresh,

    ---------- what it is made of
    steps.steps

from runs
left join files on runs.run_id = files.run_id
left join nodes on runs.run_id = nodes.run_id
left join expectations on runs.run_id = expectations.run_id
left join publications on runs.run_id = publications.run_id
left join steps on runs.run_id = steps.run_id
