{{
    config(
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'customer_id', 'month_end'],
        meta={'touched': {'days': ['month_end']}},
    )
}}

{%- set window = open_window() -%}
{%- set touched_month_ends -%}
    select source_system, customer_id, day as month_end
    from ({{ touched_by(window, 'int_customer_month_end') }}) as month_ends
{%- endset -%}
{%- set touched = touched_keys(
    window, ['source_system', 'customer_id', 'month_end'], touched_month_ends, days=['month_end']) %}

with

month_ends as (

    select * from {{ ref('int_customer_month_end') }}
    where {{ is_touched(touched) }}

),

lifecycle_bounds as (

    select
        max(days) filter (where lifecycle_bound = 'new') as new_days,
        max(days) filter (where lifecycle_bound = 'returned') as returned_days
    from {{ ref('lifecycle_bounds') }}

),

activity_statuses as (

    select
        *,
        lead(min_recency_days) over (order by min_recency_days) as next_min_recency_days
    from {{ ref('activity_statuses') }}

),

parts as (

    select
        {{ health_bounds() }}
    from {{ ref('health_parts') }}

),

measured as (

    select
        *,
        month_end - last_order_date as recency_days,
        month_end - first_order_date as tenure_days
    from month_ends

),

final as (

    select
        -- ids
        measured.source_system,
        measured.customer_id,
        measured.month_end,

        -- text
        case
            when measured.tenure_days <= lifecycle_bounds.new_days then 'new'
            when measured.month_end - measured.comeback_date <= lifecycle_bounds.returned_days then 'returned'
            else activity_statuses.activity_status
        end as stage,

        -- dates
        measured.first_order_date,
        measured.last_order_date,

        -- numbers
        measured.recency_days,
        measured.tenure_days,
        measured.order_count,
        measured.net_amount,
        {{ health_points('recency', 'measured.recency_days') }} as health_recency_points,
        {{ health_points('frequency', 'measured.order_count') }} as health_frequency_points,
        {{ health_points('kept', kept_share('measured.net_amount', 'measured.ordered_amount')) }} as health_kept_points,
        (
            {{ health_points('recency', 'measured.recency_days') }}
            + {{ health_points('frequency', 'measured.order_count') }}
            + {{ health_points('kept', kept_share('measured.net_amount', 'measured.ordered_amount')) }}
        )::numeric(9, 6) as health_score
    from measured
    cross join lifecycle_bounds
    cross join parts
    left join activity_statuses
        on measured.recency_days >= activity_statuses.min_recency_days
        and (
            measured.recency_days < activity_statuses.next_min_recency_days
            or activity_statuses.next_min_recency_days is null
        )

)

select * from final
