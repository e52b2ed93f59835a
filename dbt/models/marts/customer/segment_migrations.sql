{{
    config(
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'snapshot_date', 'customer_id'],
        meta={'touched': {'days': ['snapshot_date']}},
        indexes=[{'columns': ['source_system', 'customer_id', 'snapshot_date'], 'unique': True}],
    )
}}

{#- A touched month-end concerns the moves to it and those from it, to the next one or to the as-of date. -#}
{%- set window = open_window() -%}
{%- set touched_dates -%}
    with month_ends as (
        select distinct source_system, day as month_end
        from ({{ touched_by(window, 'int_customer_month_segment') }}) as segments
    )

    select source_system, month_end as snapshot_date from month_ends
    union all
    select source_system, (month_end + 1 + interval '1 month')::date - 1 as snapshot_date from month_ends
    union all
    select source_system, day as snapshot_date from ({{ touched_by(window, 'int_source_as_of') }}) as moved
    union all
    select source_system, as_of_date as snapshot_date from {{ ref('int_source_as_of') }}
{%- endset -%}
{%- set touched = touched_keys(
    window, ['source_system', 'snapshot_date'], touched_dates, days=['snapshot_date']) -%}
{%- set dates_before -%}
    select source_system, date_trunc('month', snapshot_date::timestamp)::date - 1 as month_end
    from {{ touched.table }}
{%- endset -%}
{%- set before = touched_keys(
    window, ['source_system', 'month_end'], dates_before, days=['month_end'], name='before') %}

with

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

customers as (

    select * from {{ ref('customer_summary') }}
    where rfm_segment is not null

),

month_segments as not materialized (

    select * from {{ ref('int_customer_month_segment') }}

),

rfm_segments as (

    select * from {{ ref('rfm_segments') }}

),

-- At the end of each complete month, and where that is not one, at the as-of date.

segments_then as (

    select
        source_system,
        customer_id,
        month_end as snapshot_date,
        rfm_segment
    from month_segments
    where {{ is_touched(touched, {'snapshot_date': 'month_end'}) }}

    union all

    select
        source_system,
        customer_id,
        as_of_date as snapshot_date,
        rfm_segment
    from customers
    where date_trunc('month', as_of_date::timestamp) = date_trunc('month', (as_of_date + 1)::timestamp)

),

segments_before as (

    select
        month_segments.source_system,
        month_segments.customer_id,
        month_segments.month_end as previous_date,
        month_segments.rfm_segment,
        least((month_segments.month_end + 1 + interval '1 month')::date - 1, as_of.as_of_date) as snapshot_date
    from month_segments
    inner join as_of
        on month_segments.source_system = as_of.source_system
        and month_segments.month_end < as_of.as_of_date
    where {{ is_touched(before, {
        'source_system': 'month_segments.source_system', 'month_end': 'month_segments.month_end'
    }) }}

),

moved as (

    select
        source_system,
        customer_id,
        snapshot_date,
        segments_before.rfm_segment as from_segment,
        segments_then.rfm_segment as to_segment
    from segments_then
    full join segments_before using (source_system, customer_id, snapshot_date)
    where segments_then.rfm_segment is distinct from segments_before.rfm_segment

),

final as (

    select
        -- ids
        moved.source_system,
        moved.snapshot_date,
        moved.customer_id,

        -- text
        moved.from_segment,
        moved.to_segment,
        case
            when moved.from_segment is null then 'entered'
            when moved.to_segment is null then 'left'
            when to_segments.segment_rank < from_segments.segment_rank then 'up'
            else 'down'
        end as direction,

        -- dates
        date_trunc('month', moved.snapshot_date::timestamp)::date - 1 as previous_date,

        -- booleans
        date_trunc('month', moved.snapshot_date::timestamp)
        <> date_trunc('month', (moved.snapshot_date + 1)::timestamp) as is_month_end
    from moved
    left join rfm_segments as from_segments on moved.from_segment = from_segments.segment
    left join rfm_segments as to_segments on moved.to_segment = to_segments.segment
    where {{ is_touched(touched) }}

)

select * from final
