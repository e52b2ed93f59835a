{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'geography_key'],
        indexes=[{'columns': ['source_system', 'geography_key'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_places -%}
    select source_system, key as geography_key from ({{ touched_by(window, 'int_geography_month') }}) as geography_months
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'geography_key'], touched_places) %}

with

geography_months as (

    select * from {{ ref('int_geography_month') }}
    where {{ is_touched(touched) }}

),

summed as (

    select
        -- ids
        source_system,
        geography_key,

        -- numbers
        {{ sum_measures() }}
    from geography_months
    group by source_system, geography_key

)

select * from summed
