with

united as (

    {% for source in sources_feeding('web_events') -%}
    select
        '{{ source }}' as source_system,
        event_id,
        session_id,
        customer_id,
        product_id,
        event_type,
        device_type,
        user_agent,
        ip_address,
        country,
        city,
        referrer,
        page_url,
        utm_source,
        utm_medium,
        utm_campaign,
        event_at,
        event_date,
        version_at,
        _file_id,
        _business_date,
        _path,
        _line_number
    from {{ ref('stg_' ~ source ~ '__web_events') }}
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}

)

select * from united
