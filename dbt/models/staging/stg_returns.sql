with

united as (

    {% for source in sources_feeding('returns') -%}
    select
        '{{ source }}' as source_system,
        return_id,
        order_item_id,
        return_reason,
        quantity,
        refund_amount,
        returned_at,
        returned_date,
        version_at,
        _file_id,
        _business_date,
        _path,
        _line_number
    from {{ ref('stg_' ~ source ~ '__returns') }}
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}

)

select * from united
