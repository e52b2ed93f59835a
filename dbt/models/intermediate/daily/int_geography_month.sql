{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'geography_key', 'month'],
        meta={'touched': {'key': 'geography_key', 'days': ['month']}},
        indexes=[{'columns': ['source_system', 'geography_key', 'month'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_months -%}
    select source_system, key as geography_key, date_trunc('month', day::timestamp)::date as month
    from ({{ touched_by(window, 'int_geography_day') }}) as geography_days
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'geography_key', 'month'], touched_months, days=['month']) %}

with

geography_days as (

    select
        *,
        date_trunc('month', day::timestamp)::date as month
    from {{ ref('int_geography_day') }}

),

touched_geography_days as (

    select * from geography_days
    where {{ is_touched(touched) }}
        and {{ is_in_touched_periods(touched, 'day', 'month') }}

),

summed as (

    select
        -- ids
        source_system,
        geography_key,
        month,

        -- numbers
        {{ sum_measures() }}
    from touched_geography_days
    group by source_system, geography_key, month

)

select * from summed
