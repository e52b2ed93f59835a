{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'day', 'product_id', 'partner_id'],
        meta={'touched': {'key': 'partner_id', 'days': ['day']}},
        indexes=[{'columns': ['source_system', 'day', 'product_id', 'partner_id'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_days -%}
    select source_system, day from ({{ touched_by(window, 'fact_order_items') }}) as order_items
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'day'], touched_days, days=['day']) %}

with

order_items as (

    select * from {{ ref('fact_order_items') }}
    where line_type = 'sale'
        and product_id is not null
        and {{ is_touched(touched, {'day': 'order_date'}) }}

),

bounds as (

    select * from {{ ref('product_affinity_bounds') }}

),

-- What was put together counts, whatever became of the order: a cancellation months later changes no pair.

baskets as (

    select
        source_system,
        order_date as day,
        order_id,
        array_agg(distinct product_id collate "C") as product_ids
    from order_items
    group by source_system, order_date, order_id

),

-- A basket's products are in order, so each pair comes once; a product is its own first partner.

pairs as (

    select
        -- ids
        baskets.source_system,
        baskets.day,
        products.product_id,
        partners.partner_id,

        -- numbers
        count(*) as order_count
    from baskets
    inner join bounds on cardinality(baskets.product_ids) <= bounds.max_basket_product_count
    cross join lateral unnest(baskets.product_ids) with ordinality as products (product_id, place)
    cross join lateral unnest(baskets.product_ids[products.place:]) as partners (partner_id)
    group by baskets.source_system, baskets.day, products.product_id, partners.partner_id

)

select * from pairs
