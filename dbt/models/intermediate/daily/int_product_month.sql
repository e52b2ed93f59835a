{%- set measures = [
    'order_count', 'unit_count', 'cancelled_unit_count', 'returned_unit_count',
    'gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount',
    'cost_amount', 'cancelled_cost_amount', 'returned_cost_amount', 'unknown_cost_count',
] -%}

{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'product_id', 'month'],
        meta={'touched': {'days': ['month']}},
        indexes=[{'columns': ['source_system', 'product_id', 'month'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_months -%}
    select source_system, product_id, date_trunc('month', day::timestamp)::date as month
    from ({{ touched_by(window, 'int_product_day') }}) as product_days
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'product_id', 'month'], touched_months, days=['month']) %}

with

product_days as (

    select
        *,
        date_trunc('month', day::timestamp)::date as month
    from {{ ref('int_product_day') }}

),

touched_product_days as (

    select * from product_days
    where {{ is_touched(touched) }}
        and {{ is_in_touched_periods(touched, 'day', 'month') }}

),

summed as (

    select
        -- ids
        source_system,
        product_id,
        month,

        -- dates
        min(day) filter (where order_count > 0) as first_sold_date,
        max(day) filter (where order_count > 0) as last_sold_date,

        -- numbers
        {{ sum_measures(measures) }}
    from touched_product_days
    group by source_system, product_id, month

)

select * from summed
