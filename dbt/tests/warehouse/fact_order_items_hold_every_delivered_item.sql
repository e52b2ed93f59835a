-- Conservation and reconciliation: each item delivered for an order that is there is in the facts, once, with the
-- amount of its latest version; a version in between may have belonged to another order.

with delivered as (
    {% for source in sources_feeding('order_items') -%}
    select source_system, order_item_id, order_id, line_total, version_at, _business_date, _path, _line_number
    from {{ ref('stg_order_items') }}
    where source_system = '{{ source }}'
        and {{ is_order_touched(source) }}
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}
),

latest as (
    select distinct on (source_system, order_item_id)
        source_system,
        order_item_id,
        order_id,
        line_total
    from delivered
    order by source_system, order_item_id, {{ latest_version_first() }}
)

{%- if is_day_touched('fact_orders', 'order_date') == 'true' %},

-- everything is read: set against set, because the planner cannot know how many rows `latest` has
delivered_or_held as (
    select source_system, order_item_id, order_id, line_total, 1 as is_delivered, 0 as is_held
    from latest
    union all
    select source_system, order_item_id, order_id, line_total, 0 as is_delivered, 1 as is_held
    from {{ ref('fact_order_items') }}
),

differing as (
    select source_system, order_item_id, min(order_id) as order_id
    from delivered_or_held
    group by source_system, order_item_id
    having sum(is_delivered) <> 1
        or sum(is_held) <> 1
        or min(order_id) <> max(order_id)
        or min(line_total) <> max(line_total)
)

-- an item whose order is not there waits
select differing.source_system, differing.order_item_id
from differing
inner join {{ ref('fact_orders') }} as orders
    on differing.source_system = orders.source_system
    and differing.order_id = orders.order_id
{%- else %}

select latest.source_system, latest.order_item_id
from latest
inner join {{ ref('fact_orders') }} as orders
    on latest.source_system = orders.source_system
    and latest.order_id = orders.order_id
left join {{ ref('fact_order_items') }} as items
    on latest.source_system = items.source_system
    and latest.order_item_id = items.order_item_id
where items.order_item_id is null
    or (items.order_id = latest.order_id and items.line_total <> latest.line_total)
{%- endif %}
