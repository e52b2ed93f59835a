{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'customer_id', 'category', 'month'],
        meta={'touched': {'key': 'category', 'days': ['month']}},
        indexes=[
            {'columns': ['source_system', 'customer_id', 'category', 'month'], 'unique': True},
            {'columns': ['source_system', 'customer_id', 'month']},
        ],
    )
}}

{%- set window = open_window() -%}
{%- set recategorised -%}
    select source_system, product_id from ({{ touched_by(window, 'int_product_category') }}) as products
{%- endset -%}
{%- set products = touched_keys(window, ['source_system', 'product_id'], recategorised, name='products') -%}
{%- set touched_months -%}
    select source_system, customer_id, date_trunc('month', day::timestamp)::date as month
    from ({{ touched_by(window, 'fact_order_items') }}) as order_items
    union all
    select source_system, customer_id, date_trunc('month', order_date::timestamp)::date as month
    from {{ ref('fact_order_items') }}
    where {{ is_touched(products) }}
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'customer_id', 'month'], touched_months, days=['month']) %}

with

order_items as (

    select
        *,
        date_trunc('month', order_date::timestamp)::date as month
    from {{ ref('fact_order_items') }}
    where customer_id is not null
        and line_type = 'sale'
        and cancelled_date is null

),

categories as (

    select * from {{ ref('int_product_category') }}

),

touched_items as (

    select * from order_items
    where {{ is_touched(touched) }}
        and {{ is_in_touched_periods(touched, 'order_date', 'month') }}

),

summed as (

    select
        -- ids
        touched_items.source_system,
        touched_items.customer_id,
        touched_items.month,

        -- text
        coalesce(categories.category, 'Uncategorised') as category,

        -- numbers
        sum(touched_items.quantity)::bigint as unit_count,
        sum(touched_items.gross_amount - touched_items.discount_amount)::numeric(18, 4) as spent_amount
    from touched_items
    left join categories
        on touched_items.source_system = categories.source_system
        and touched_items.product_id = categories.product_id
    group by
        touched_items.source_system, touched_items.customer_id, touched_items.month,
        coalesce(categories.category, 'Uncategorised')

)

-- In order, so that a customer's months lie together where a full build wrote them, and are read from few pages.

select * from summed
order by source_system, customer_id, category, month
