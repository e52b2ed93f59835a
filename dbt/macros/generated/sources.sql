{#- Written by `ecommerce-dw contracts sync` from the data contracts. Do not edit. -#}


{#- The sources that feed a conformed entity, in alphabetical order; each has a model
    stg_<source>__<entity>. `touched` is fed by every source; one that feeds order_items also has
    stg_<source>__rejected_order_items. `keyed_<entity>`: of them those whose files give each row of the
    entity a key of its own. -#}
{%- macro sources_feeding(entity) -%}
    {%- set sources = {
        'customers': ['ecommerce', 'online_retail', 'sales'],
        'products': ['ecommerce', 'online_retail'],
        'orders': ['ecommerce', 'online_retail', 'sales'],
        'order_items': ['ecommerce', 'online_retail', 'sales'],
        'payments': ['ecommerce'],
        'returns': ['ecommerce'],
        'inventory': ['ecommerce'],
        'web_events': ['ecommerce'],
        'marketing_spend': ['ecommerce'],
        'touched': ['ecommerce', 'online_retail', 'sales'],
        'keyed_customers': ['ecommerce'],
        'keyed_products': ['ecommerce'],
        'keyed_orders': ['ecommerce'],
        'keyed_order_items': ['ecommerce'],
        'keyed_payments': ['ecommerce'],
        'keyed_returns': ['ecommerce'],
        'keyed_inventory': ['ecommerce'],
        'keyed_web_events': ['ecommerce'],
        'keyed_marketing_spend': ['ecommerce'],
    } -%}
    {%- do return(sources[entity]) -%}
{%- endmacro -%}


{#- SQL: the time zone of a source system, which decides its business day. -#}
{%- macro source_time_zone(source_system) -%}
    case {{ source_system }}
        when 'ecommerce' then 'UTC'
        when 'online_retail' then 'Europe/London'
        when 'sales' then 'UTC'
    end
{%- endmacro -%}


{#- SQL: the currency of all amounts of a source system. -#}
{%- macro source_currency(source_system) -%}
    case {{ source_system }}
        when 'ecommerce' then 'USD'
        when 'online_retail' then 'GBP'
        when 'sales' then 'USD'
    end
{%- endmacro -%}
