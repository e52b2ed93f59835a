{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'customer_id', 'category'],
        indexes=[{'columns': ['source_system', 'customer_id', 'category'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_categories -%}
    select source_system, customer_id, key as category
    from ({{ touched_by(window, 'int_customer_category_month') }}) as category_months
{%- endset -%}
{%- set touched = touched_keys(
    window, ['source_system', 'customer_id', 'category'], touched_categories, is_looked_up=true) %}

with

category_months as (

    select * from {{ ref('int_customer_category_month') }}
    where {{ is_touched(touched) }}

),

summed as (

    select
        -- ids
        source_system,
        customer_id,

        -- text
        category,

        -- numbers
        sum(unit_count)::bigint as unit_count,
        sum(spent_amount)::numeric(18, 4) as spent_amount
    from category_months
    group by source_system, customer_id, category

)

-- In order, so that a customer's categories lie together where a full build wrote them, and are read from few pages.

select * from summed
order by source_system, customer_id, category
