-- Point in time: a fact's dimension rows are its own customer's and product's, valid when the order was placed.

with items as (
    select * from {{ ref('fact_order_items') }}
    where {{ is_day_touched('fact_order_items', 'order_date') }}
)

select
    items.source_system,
    items.order_item_id
from items
left join {{ ref('dim_products') }} as products
    on items.product_key = products.product_key
    and items.source_system = products.source_system
    and items.product_id = products.product_id
    and items.ordered_at >= products.valid_from
    and items.ordered_at < products.valid_to
left join {{ ref('dim_customers') }} as customers
    on items.customer_key = customers.customer_key
    and items.source_system = customers.source_system
    and items.customer_id = customers.customer_id
    and items.ordered_at >= customers.valid_from
    and items.ordered_at < customers.valid_to
where (items.product_id is not null and products.product_key is null)
    or (items.customer_id is not null and customers.customer_key is null)
    or items.unit_cost is distinct from products.cost
