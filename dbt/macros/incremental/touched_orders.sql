{#- Query: orders that loads touched (columns source_system, order_id): named by a touched row, or the order of
    any delivered version of a touched item, so that an order loses an item that moved to another one. -#}
{%- macro touched_orders_by_loads(window) -%}
    {%- set item_query -%}
        select source_system, key as order_item_id from ({{ touched_by_loads(window, 'order_items') }}) as items
    {%- endset -%}
    {%- set items = touched_keys(window, ['source_system', 'order_item_id'], item_query, name='loaded_items') -%}
    select source_system, key as order_id from ({{ touched_by_loads(window, 'orders') }}) as orders
    union all
    select source_system, order_id from {{ ref('stg_order_items') }} where {{ is_touched(items) }}
{%- endmacro -%}


{#- The items of which any version belongs to a touched order, as a touched set: whether such an item is the
    order's own is decided by its latest version, so all its versions are needed. Only items with a key of their
    own can have belonged to another order. -#}
{%- macro touched_items_of_orders(window, touched) -%}
    {%- set query -%}
        select source_system, order_item_id from {{ ref('stg_order_items') }}
        where source_system = any({{ array_literal(sources_feeding('keyed_order_items')) }})
            and {{ is_touched(touched) }}
    {%- endset -%}
    {%- do return(touched_keys(window, ['source_system', 'order_item_id'], query, name='items')) -%}
{%- endmacro -%}


{#- Query: all delivered versions of the items of touched orders. -#}
{%- macro delivered_items_of_orders(touched, items) -%}
    select * from {{ ref('stg_order_items') }}
    where source_system = any({{ array_literal(sources_feeding('keyed_order_items')) }})
        and {{ is_touched(items) }}
    union all
    select * from {{ ref('stg_order_items') }}
    where source_system <> all({{ array_literal(sources_feeding('keyed_order_items')) }})
        and {{ is_touched(touched) }}
{%- endmacro -%}
