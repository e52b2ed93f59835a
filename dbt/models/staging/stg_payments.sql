with

united as (

    {% for source in sources_feeding('payments') -%}
    select
        '{{ source }}' as source_system,
        payment_id,
        order_id,
        payment_method,
        payment_status,
        amount,
        paid_at,
        paid_date,
        version_at,
        _file_id,
        _business_date,
        _path,
        _line_number
    from {{ ref('stg_' ~ source ~ '__payments') }}
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}

)

select * from united
