-- How many rows came for each day, and how that compares with the same entity's days before.

with

ledger as (

    select * from {{ source('raw', 'load_ledger') }}
    where load_id is not null

),

-- what is in effect for each path: its latest version that took effect

in_effect as (

    select distinct on (source, path) *
    from ledger
    order by source asc, path asc, version desc

),

counted as (

    select
        source as source_system,
        entity,
        business_date,
        count(*) filter (where status = 'loaded') as file_count,
        coalesce(sum(rows_read) filter (where status = 'loaded'), 0)::bigint as read_row_count,
        coalesce(sum(rows_loaded) filter (where status = 'loaded'), 0)::bigint as loaded_row_count,
        coalesce(sum(rows_rejected) filter (where status = 'loaded'), 0)::bigint as rejected_row_count,
        max(finished_at) as last_loaded_at
    from in_effect
    where business_date is not null
    group by source, entity, business_date

),

compared as (

    select
        *,
        lag(business_date) over days as previous_date,
        round(avg(loaded_row_count) over earlier_days, 2)::numeric(18, 2) as usual_row_count
    from counted
    window
        days as (partition by source_system, entity order by business_date),
        earlier_days as (
            partition by source_system, entity order by business_date
            range between interval '28 days' preceding and interval '1 day' preceding
        )

)

select

    ---------- ids
    source_system,
    entity,
    business_date,

    ---------- numbers
    file_count,
    read_row_count,
    loaded_row_count,
    rejected_row_count,
    {{ ratio('rejected_row_count', 'read_row_count') }} as rejected_share,
    usual_row_count,
    {{ ratio('loaded_row_count', 'usual_row_count') }} as to_usual_ratio,
    coalesce(business_date - previous_date - 1, 0) as missing_day_count,

    ---------- times
    last_loaded_at

from compared
