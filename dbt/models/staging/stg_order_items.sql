with

united as (

    {% for source in sources_feeding('order_items') -%}
    select
        '{{ source }}' as source_system,
        order_item_id,
        order_id,
        product_id,
        line_type,
        quantity,
        unit_price,
        discount_amount,
        line_total,
        is_duplicate,
        created_at,
        version_at,
        _file_id,
        _business_date,
        _path,
        _line_number
    from {{ ref('stg_' ~ source ~ '__order_items') }}
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}

)

select * from united
