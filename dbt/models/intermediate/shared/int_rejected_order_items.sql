{{ config(materialized='view') }}

with united as (
    {% for source in sources_feeding('order_items') -%}
    select
        '{{ source }}' as source_system,
        order_id,
        rejected_count
    from {{ ref('stg_' ~ source ~ '__rejected_order_items') }}
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}
)

select * from united
