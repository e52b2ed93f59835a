-- An order's total is what its items, shipping and tax come to; where the shop delivered another one it is flagged.

with orders as (
    select * from {{ ref('fact_orders') }}
    where {{ is_day_touched('fact_orders', 'order_date') }}
),

item_totals as (
    select
        source_system,
        order_id,
        sum(line_total) as lines_total
    from {{ ref('fact_order_items') }}
    where {{ is_day_touched('fact_orders', 'order_date') }}
    group by source_system, order_id
)

select
    orders.source_system,
    orders.order_id,
    orders.total_amount,
    item_totals.lines_total
from orders
left join item_totals
    on orders.source_system = item_totals.source_system
    and orders.order_id = item_totals.order_id
where not orders.has_total_mismatch
    and orders.total_amount
    <> {{ order_total('coalesce(item_totals.lines_total, 0)', 'orders.shipping_cost', 'orders.tax_amount') }}
