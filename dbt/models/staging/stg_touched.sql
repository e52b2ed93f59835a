with

united as (

    {% for source in sources_feeding('touched') -%}
    select
        '{{ source }}' as source_system,
        entity,
        key,
        load_id
    from {{ ref('stg_' ~ source ~ '__touched') }}
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}

)

select * from united
