with

united as (

    {% for source in sources_feeding('inventory') -%}
    select
        '{{ source }}' as source_system,
        product_id,
        on_hand_quantity,
        received_quantity,
        sold_quantity,
        snapshot_date,
        version_at,
        _file_id,
        _business_date,
        _path,
        _line_number
    from {{ ref('stg_' ~ source ~ '__inventory') }}
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}

)

select * from united
