{{
    config(
        materialized='incremental',
        incremental_strategy='changed_rows',
        unique_key=['source_system', 'product_id'],
        indexes=[{'columns': ['source_system', 'product_id'], 'unique': True}],
    )
}}

with

products as (

    select * from {{ ref('dim_products') }}

),

-- A table of its own, so that a new price touches nobody and a new category those who bought the product.

current_categories as (

    select
        source_system,
        product_id,
        coalesce(category, 'Uncategorised') as category
    from products
    where is_current

)

select * from current_categories
