-- A return names its item's order, product and customer in the versions valid at the order; what the item's cancellation took
-- back is not taken back twice.

with returns as (
    select * from {{ ref('fact_returns') }}
    where {{ is_day_touched('fact_returns', 'returned_date') }}
)

select
    returns.source_system,
    returns.return_id
from returns
left join {{ ref('fact_order_items') }} as items
    on returns.source_system = items.source_system
    and returns.order_item_id = items.order_item_id
    and returns.order_date = items.order_date
where items.order_item_id is null
    or (returns.order_key, returns.product_key, returns.customer_key, returns.unit_cost, returns.currency)
    is distinct from (items.order_key, items.product_key, items.customer_key, items.unit_cost, items.currency)
    or (returns.is_counted and items.cancelled_quantity <> 0)
    or returns.refund_amount <> case when returns.is_counted then returns.delivered_refund_amount else 0 end
