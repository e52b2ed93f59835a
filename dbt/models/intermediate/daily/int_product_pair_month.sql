{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'product_id', 'partner_id', 'month'],
        meta={'touched': {'key': 'partner_id', 'days': ['month']}},
        indexes=[{'columns': ['source_system', 'product_id', 'partner_id', 'month'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_months -%}
    select source_system, product_id, key as partner_id, date_trunc('month', day::timestamp)::date as month
    from ({{ touched_by(window, 'int_product_pair_day') }}) as pair_days
{%- endset -%}
{%- set touched = touched_keys(
    window, ['source_system', 'product_id', 'partner_id', 'month'], touched_months, days=['month'], is_joined=true) %}

with

pair_days as (

    select
        *,
        date_trunc('month', day::timestamp)::date as month
    from {{ ref('int_product_pair_day') }}

),

touched_pair_days as (

    select * from pair_days
    where {{ is_touched(touched) }}
        and {{ is_in_touched_periods(touched, 'day', 'month') }}

),

summed as (

    select
        -- ids
        source_system,
        product_id,
        partner_id,
        month,

        -- numbers
        sum(order_count)::bigint as order_count
    from touched_pair_days
    group by source_system, product_id, partner_id, month

)

-- In order, so that a pair's months lie together where a full build wrote them, and are read from few pages.

select * from summed
order by source_system, product_id, partner_id, month
