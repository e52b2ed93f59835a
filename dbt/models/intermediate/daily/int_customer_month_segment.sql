{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'month_end', 'customer_id'],
        meta={'touched': {'days': ['month_end']}},
        indexes=[{'columns': ['source_system', 'month_end', 'customer_id'], 'unique': True}],
    )
}}

{#- Ranks are among all customers: a touched month-end is ranked as a whole. -#}
{%- set window = open_window() -%}
{%- set touched_month_ends -%}
    select source_system, day as month_end from ({{ touched_by(window, 'int_customer_month_end') }}) as month_ends
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'month_end'], touched_month_ends, days=['month_end']) %}

with

month_ends as (

    select * from {{ ref('int_customer_month_end') }}
    where {{ is_touched(touched) }}

),

rfm_segments as (

    select * from {{ ref('rfm_segments') }}

),

{{ rfm_steps('month_ends', 'source_system, month_end') }},

final as (

    select
        source_system,
        month_end,
        customer_id,
        rfm_segment
    from segmented

)

select * from final
