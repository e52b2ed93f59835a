{#- Written by `ecommerce-dw contracts sync` from the data contracts. Do not edit. -#}


{#- The sources that feed a conformed entity, in alphabetical order; each has a model
    stg_<source>__<entity>. `touched` is fed by every source; one that feeds order_items also has
    stg_<source>__rejected_order_items. -#}
{%- macro sources_feeding(entity) -%}
    {%- set sources = {
        'customers': ['ecommerce', 'online_retail'],
        'products': ['ecommerce', 'online_retail'],
        'orders': ['ecommerce', 'online_retail'],
        'order_items': ['ecommerce', 'online_retail'],
        'touched': ['ecommerce', 'online_retail'],
        'keyed_order_items': ['ecommerce'],
    } -%}
    {%- do return(sources[entity]) -%}
{%- endmacro -%}


{#- SQL: the time zone of a source system, which decides its business day. -#}
{%- macro source_time_zone(source_system) -%}
    case {{ source_system }}
        when 'ecommerce' then 'UTC'
        when 'online_retail' then 'Europe/London'
    end
{%- endmacro -%}


{#- SQL: the currency of all amounts of a source system. -#}
{%- macro source_currency(source_system) -%}
    case {{ source_system }}
        when 'ecommerce' then 'USD'
        when 'online_retail' then 'GBP'
    end
{%- endmacro -%}
