-- Everything that judges the data, as it last did, in one list: what is not fine comes with how many rows and what to look at.

with

-- A rule that is gone is not looked at any more: the last runs know all there are.

last_runs as (

    select run_id from {{ source('ops', 'runs') }}
    order by run_seq desc
    limit 10

),

expectations as (

    select distinct on (checkpoint, suite, name, source_system) *
    from {{ source('ops', 'expectation_results') }}
    where run_id in (select run_id from last_runs)
    order by checkpoint asc, suite asc, name asc, source_system asc, result_id desc

),

data_tests as (

    select distinct on (node_id) *
    from {{ source('ops', 'dbt_results') }}
    where resource_type = 'test' and status <> 'skipped' and run_id in (select run_id from last_runs)
    order by node_id asc, finished_at desc

),

rejects as (

    select
        rejected_rows.*,
        broken_rules.reason
    from {{ source('raw', 'rejected_rows') }} as rejected_rows
    inner join {{ source('raw', 'load_ledger') }} as ledger on rejected_rows.file_id = ledger.file_id
    cross join lateral unnest(rejected_rows.reasons) as broken_rules (reason)
    where ledger.is_current and rejected_rows.resolved_by is null

),

flagged as (

    select * from {{ ref('flagged_rows') }}

),

reconciliation as (

    select * from {{ source('ops', 'reconciliation') }}

),

freshness as (

    select distinct on (source) *
    from {{ source('ops', 'source_freshness') }}
    order by source asc, checked_at desc

),

incidents as (

    select * from {{ source('ops', 'incidents') }}
    where closed_at is null

),

judged as (

    select
        'expectation' as kind,
        source_system,
        object,
        checkpoint || '.' || suite || '.' || name as rule,
        severity,
        is_success or is_accepted as is_fine,
        coalesce(unexpected_count, 0) as row_count,
        message,
        run_id,
        checked_at
    from expectations

    union all

    select
        'data_test',
        null::text,
        layer,
        node_id,
        case when status = 'warn' then 'warning' else 'critical' end,
        status = 'pass',
        coalesce(failures, 0),
        message,
        run_id,
        finished_at
    from data_tests

    union all

    -- a row that breaks two rules counts for both
    select
        'rejected_rows',
        source,
        entity,
        reason,
        'warning',
        false,
        count(*),
        'Not settled: `ecommerce-dw rejects` shows and exports them.',
        null::text,
        max(rejected_at)
    from rejects
    group by source, entity, reason

    union all

    select
        'flagged_rows',
        source_system,
        entity,
        kind,
        'info',
        true,
        row_count,
        null::text,
        null::text,
        null::timestamptz
    from flagged

    union all

    select
        'reconciliation',
        source_system,
        entity,
        from_object || ' to ' || to_object || ': ' || measure,
        'critical',
        bool_and(unexplained = 0 and mismatches = 0),
        (sum(mismatches) + count(*) filter (where unexplained <> 0))::bigint,
        case
            when not bool_and(unexplained = 0 and mismatches = 0)
                then '`ecommerce-dw reconcile` shows where; docs/reconciliation.md says how to read it.'
        end,
        max(run_id),
        max(measured_at)
    from reconciliation
    group by source_system, entity, from_object, to_object, measure

    union all

    select
        'freshness',
        source,
        'files',
        'newest day',
        'warning',
        status in ('fresh', 'none'),
        coalesce(staleness_days, 0)::bigint,
        'Newest loaded day: ' || coalesce(max_loaded_date::text, 'none') || '.',
        run_id,
        checked_at
    from freshness

    union all

    select
        'incident',
        null::text,
        scope || ': ' || object,
        rule,
        severity,
        false,
        1,
        title,
        opened_run_id,
        opened_at
    from incidents

)

select

    ---------- ids
    kind,
    source_system,
    object,
    rule,

    ---------- text
    severity,
    message,
    run_id,

    ---------- numbers
    row_count,

    ---------- booleans
    is_fine,

    ---------- times
    checked_at

from judged
