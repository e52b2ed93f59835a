with

united as (

    {% for source in sources_feeding('marketing_spend') -%}
    select
        '{{ source }}' as source_system,
        channel,
        campaign,
        impression_count,
        click_count,
        spend_amount,
        spend_date,
        version_at,
        _file_id,
        _business_date,
        _path,
        _line_number
    from {{ ref('stg_' ~ source ~ '__marketing_spend') }}
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}

)

select * from united
