with

united as (

    {% for source in sources_feeding('orders') -%}
    select
        '{{ source }}' as source_system,
        order_id,
        customer_id,
        order_type,
        order_status,
        payment_method,
        shipping_method,
        shipping_cost,
        tax_amount,
        total_amount,
        currency,
        ordered_at,
        order_date,
        shipped_at,
        delivered_at,
        version_at,
        _file_id,
        _business_date,
        _path,
        _line_number
    from {{ ref('stg_' ~ source ~ '__orders') }}
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}

)

select * from united
