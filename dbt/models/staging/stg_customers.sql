with

united as (

    {% for source in sources_feeding('customers') -%}
    select
        '{{ source }}' as source_system,
        customer_id,
        first_name,
        last_name,
        email,
        phone,
        address,
        city,
        state,
        zip_code,
        country,
        registration_date,
        customer_segment,
        birth_date,
        gender,
        acquisition_channel,
        is_marketing_opt_in,
        version_at,
        _file_id,
        _business_date,
        _path,
        _line_number
    from {{ ref('stg_' ~ source ~ '__customers') }}
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}

)

select * from united
