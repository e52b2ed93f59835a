with

united as (

    {% for source in sources_feeding('products') -%}
    select
        '{{ source }}' as source_system,
        product_id,
        product_name,
        category,
        subcategory,
        brand,
        price,
        cost,
        weight,
        dimensions,
        description,
        created_date,
        is_active,
        version_at,
        _file_id,
        _business_date,
        _path,
        _line_number
    from {{ ref('stg_' ~ source ~ '__products') }}
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}

)

select * from united
