{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'day'],
        meta={'touched': {'days': ['day']}},
        indexes=[{'columns': ['source_system', 'day'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_days -%}
    select source_system, day from ({{ touched_by(window, 'fact_order_items') }}) as order_items
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'day'], touched_days, days=['day']) %}

with

order_items as (

    select
        *,
        order_date as day
    from {{ ref('fact_order_items') }}
    where line_type = 'sale'
        and product_id is not null

),

bounds as (

    select * from {{ ref('product_affinity_bounds') }}

),

baskets as (

    select
        source_system,
        day,
        order_id,
        count(distinct product_id) as product_count
    from order_items
    where {{ is_touched(touched, {'day': 'order_date'}) }}
    group by source_system, day, order_id

),

counted as (

    select
        -- ids
        baskets.source_system,
        baskets.day,

        -- numbers
        count(*) filter (where baskets.product_count <= bounds.max_basket_product_count) as order_count,
        count(*) filter (where baskets.product_count > bounds.max_basket_product_count) as large_order_count
    from baskets
    cross join bounds
    group by baskets.source_system, baskets.day

)

select * from counted
