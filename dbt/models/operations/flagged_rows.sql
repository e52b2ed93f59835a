-- What a later layer leaves out, replaces or marks, counted by name, so that nothing is dropped silently.

with customers as (
    select * from {{ ref('stg_customers') }}
),

products as (
    select * from {{ ref('stg_products') }}
),

delivered_items as (
    select * from {{ ref('stg_order_items') }}
),

dim_customers as (
    select * from {{ ref('dim_customers') }}
),

dim_products as (
    select * from {{ ref('dim_products') }}
),

orders as (
    select * from {{ ref('fact_orders') }}
),

items as (
    select * from {{ ref('fact_order_items') }}
),

latest_items as (
    select distinct on (source_system, order_item_id)
        source_system,
        order_item_id,
        order_id,
        quantity,
        unit_price,
        discount_amount,
        line_total
    from delivered_items
    order by source_system, order_item_id, {{ latest_version_first() }}
),

flags as (
    select latest_items.source_system, 'order_items' as entity, 'orphan_item_waiting' as kind, count(*) as row_count
    from latest_items
    left join orders
        on latest_items.source_system = orders.source_system
        and latest_items.order_id = orders.order_id
    where orders.order_id is null
    group by latest_items.source_system

    union all

    select source_system, 'order_items', 'line_total_mismatch', count(*)
    from latest_items
    where line_total <> {{ line_total('quantity', 'unit_price', 'discount_amount') }}
    group by source_system

    union all

    select source_system, 'order_items', 'superseded_version', sum(version_count)::bigint
    from (
        select source_system, count(*) as version_count from delivered_items
        group by source_system
        union all
        select source_system, -count(*) from latest_items
        group by source_system
    ) as versions
    group by source_system

    union all

    select source_system, 'order_items', 'duplicate_line', count(*)
    from items
    where is_duplicate
    group by source_system

    union all

    select source_system, 'order_items', 'unknown_cost', count(*)
    from items
    where cost_amount is null
    group by source_system

    union all

    select source_system, 'orders', 'superseded_version', sum(version_count - 1)::bigint
    from orders
    group by source_system

    union all

    select source_system, 'orders', 'incomplete_order', count(*)
    from orders
    where is_incomplete
    group by source_system

    union all

    select source_system, 'orders', 'order_without_items', count(*)
    from orders
    where item_count = 0
    group by source_system

    union all

    select source_system, 'orders', 'total_mismatch', count(*)
    from orders
    where has_total_mismatch
    group by source_system

    union all

    select source_system, 'orders', 'guest_order', count(*)
    from orders
    where is_guest
    group by source_system

    union all

    select source_system, 'customers', 'inferred_customer', count(*)
    from dim_customers
    where is_inferred
    group by source_system

    union all

    -- of the same moment as a later one, or equal to its predecessor
    select source_system, 'customers', 'superseded_version', sum(version_count)::bigint
    from (
        select source_system, count(*) as version_count from customers
        group by source_system
        union all
        select source_system, -count(*) from dim_customers
        where not is_inferred
        group by source_system
    ) as versions
    group by source_system

    union all

    select source_system, 'products', 'inferred_product', count(*)
    from dim_products
    where is_inferred
    group by source_system

    union all

    select source_system, 'products', 'superseded_version', sum(version_count)::bigint
    from (
        select source_system, count(*) as version_count from products
        group by source_system
        union all
        select source_system, -count(*) from dim_products
        where not is_inferred
        group by source_system
    ) as versions
    group by source_system
)

select source_system, entity, kind, row_count
from flags
where row_count <> 0
