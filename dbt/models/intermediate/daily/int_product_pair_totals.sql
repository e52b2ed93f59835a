{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'product_id', 'partner_id'],
        meta={'touched': {'key': 'partner_id'}},
        indexes=[
            {'columns': ['source_system', 'product_id', 'partner_id'], 'unique': True},
            {'columns': ['order_count']},
        ],
    )
}}

{%- set window = open_window() -%}
{%- set touched_pairs -%}
    select source_system, product_id, key as partner_id
    from ({{ touched_by(window, 'int_product_pair_month') }}) as pair_months
{%- endset -%}
{%- set touched = touched_keys(
    window, ['source_system', 'product_id', 'partner_id'], touched_pairs, is_looked_up=true) %}

with

pair_months as (

    select * from {{ ref('int_product_pair_month') }}
    where {{ is_touched(touched) }}

),

summed as (

    select
        -- ids
        source_system,
        product_id,
        partner_id,

        -- numbers
        sum(order_count)::bigint as order_count
    from pair_months
    group by source_system, product_id, partner_id

)

select * from summed
