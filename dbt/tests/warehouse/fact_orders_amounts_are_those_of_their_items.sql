-- Both facts tell the same money.

with orders as (
    select * from {{ ref('fact_orders') }}
    where {{ is_day_touched('fact_orders', 'order_date') }}
),

item_totals as (
    select
        source_system,
        order_id,
        count(*) as item_count,
        sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount,
        sum(fee_amount) as fee_amount,
        sum(adjustment_amount) as adjustment_amount,
        sum(cancelled_amount) as cancelled_amount
    from {{ ref('fact_order_items') }}
    where {{ is_day_touched('fact_orders', 'order_date') }}
    group by source_system, order_id
)

select
    orders.source_system,
    orders.order_id
from orders
left join item_totals
    on orders.source_system = item_totals.source_system
    and orders.order_id = item_totals.order_id
where orders.item_count <> coalesce(item_totals.item_count, 0)
    or orders.gross_amount <> coalesce(item_totals.gross_amount, 0)
    or orders.discount_amount <> coalesce(item_totals.discount_amount, 0)
    or orders.fee_amount <> coalesce(item_totals.fee_amount, 0)
    or orders.adjustment_amount <> coalesce(item_totals.adjustment_amount, 0)
    or orders.cancelled_amount <> coalesce(item_totals.cancelled_amount, 0)
