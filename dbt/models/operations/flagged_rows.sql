-- What a later layer leaves out, replaces or marks, counted by name, so that nothing is dropped silently.
-- The imports are not materialized: each count reads the columns it needs, and those of a shop's staging that are
-- costly are left out where nobody needs them.

with delivered_customers as not materialized (
    select * from {{ ref('stg_customers') }}
    where source_system = any({{ array_literal(sources_feeding('keyed_customers')) }})
),

delivered_products as not materialized (
    select * from {{ ref('stg_products') }}
    where source_system = any({{ array_literal(sources_feeding('keyed_products')) }})
),

delivered_items as not materialized (
    select * from {{ ref('stg_order_items') }}
),

delivered_payments as not materialized (
    select * from {{ ref('stg_payments') }}
),

delivered_returns as not materialized (
    select * from {{ ref('stg_returns') }}
),

delivered_inventory as not materialized (
    select * from {{ ref('stg_inventory') }}
),

delivered_spend as not materialized (
    select * from {{ ref('stg_marketing_spend') }}
),

flagged_web_events as not materialized (
    select * from {{ ref('int_flagged_web_events') }}
),

returns as not materialized (
    select * from {{ ref('fact_returns') }}
),

customers as not materialized (
    select * from {{ ref('dim_customers') }}
),

products as not materialized (
    select * from {{ ref('dim_products') }}
),

orders as not materialized (
    select * from {{ ref('fact_orders') }}
),

items as not materialized (
    select * from {{ ref('fact_order_items') }}
),

---------- customers and products: a version is superseded by one of the same moment, or equal to its predecessor

customer_flags as (
    select
        source_system,
        count(*) filter (where is_inferred) as inferred_count,
        count(*) filter (where not is_inferred) as version_count
    from customers
    group by source_system
),

customer_deliveries as (
    select source_system, count(*) as delivered_count from delivered_customers
    group by source_system
),

product_flags as (
    select
        source_system,
        count(*) filter (where is_inferred) as inferred_count,
        count(*) filter (where not is_inferred) as version_count
    from products
    group by source_system
),

product_deliveries as (
    select source_system, count(*) as delivered_count from delivered_products
    group by source_system
),

---------- orders and their items

order_flags as (
    select
        source_system,
        sum(version_count - 1)::bigint as superseded_count,
        count(*) filter (where is_incomplete) as incomplete_count,
        count(*) filter (where item_count = 0) as empty_count,
        count(*) filter (where has_total_mismatch) as mismatch_count,
        count(*) filter (where is_guest) as guest_count
    from orders
    group by source_system
),

item_flags as (
    select
        source_system,
        count(*) filter (where is_duplicate) as duplicate_count,
        count(*) filter (where cost_amount is null) as unknown_cost_count
    from items
    group by source_system
),

item_deliveries as (
    select source_system, sum(key_versions - 1)::bigint as superseded_count
    from (
        select source_system, order_item_id, count(*) as key_versions from delivered_items
        where source_system = any({{ array_literal(sources_feeding('keyed_order_items')) }})
        group by source_system, order_item_id
    ) as item_keys
    group by source_system
),

waiting_orders as (
    select distinct source_system, order_id from delivered_items
    except
    select source_system, order_id from orders
),

-- Few items are suspect, and only of them is the latest version looked for.
suspect_items as (
    select source_system, order_item_id from delivered_items
    where source_system = any({{ array_literal(sources_feeding('keyed_order_items')) }})
        and (source_system, order_id) in (select source_system, order_id from waiting_orders)
    union
    select source_system, order_item_id from delivered_items
    where source_system = any({{ array_literal(sources_feeding('keyed_order_items')) }})
        and line_total <> {{ line_total('quantity', 'unit_price', 'discount_amount') }}
),

latest_suspects as (
    select distinct on (source_system, order_item_id)
        source_system,
        order_id,
        line_total <> {{ line_total('quantity', 'unit_price', 'discount_amount') }} as is_mismatch
    from delivered_items
    where source_system = any({{ array_literal(sources_feeding('keyed_order_items')) }})
        and (source_system, order_item_id) in (select source_system, order_item_id from suspect_items)
    order by source_system, order_item_id, {{ latest_version_first() }}
),

-- where an item has no key of its own, each line is the latest
suspect_lines as (
    select * from latest_suspects
    union all
    select
        source_system,
        order_id,
        line_total <> {{ line_total('quantity', 'unit_price', 'discount_amount') }} as is_mismatch
    from delivered_items
    where source_system <> all({{ array_literal(sources_feeding('keyed_order_items')) }})
        and (
            (source_system, order_id) in (select source_system, order_id from waiting_orders)
            or line_total <> {{ line_total('quantity', 'unit_price', 'discount_amount') }}
        )
),

suspect_flags as (
    select
        suspect_lines.source_system,
        count(*) filter (where waiting_orders.order_id is not null) as waiting_count,
        count(*) filter (where suspect_lines.is_mismatch) as mismatch_count
    from suspect_lines
    left join waiting_orders
        on suspect_lines.source_system = waiting_orders.source_system
        and suspect_lines.order_id = waiting_orders.order_id
    group by suspect_lines.source_system
),

---------- payments: what an order's captured payments come to

latest_payments as (
    select distinct on (source_system, payment_id)
        source_system,
        order_id,
        payment_status,
        amount
    from delivered_payments
    order by source_system, payment_id, {{ latest_version_first() }}
),

paid_orders as (
    select
        source_system,
        order_id,
        count(*) as payment_count,
        count(*) filter (where payment_status = 'captured') as captured_count,
        sum(amount) filter (where payment_status = 'captured') as captured_amount
    from latest_payments
    group by source_system, order_id
),

payment_flags as (
    select
        paid_orders.source_system,
        sum(paid_orders.payment_count)::bigint as latest_count,
        sum(paid_orders.payment_count) filter (where orders.order_id is null)::bigint as waiting_count,
        sum(paid_orders.captured_count) filter (where paid_orders.captured_amount <> orders.total_amount)::bigint
            as mismatch_count
    from paid_orders
    left join orders
        on paid_orders.source_system = orders.source_system
        and paid_orders.order_id = orders.order_id
    group by paid_orders.source_system
),

payment_deliveries as (
    select source_system, count(*) as delivered_count from delivered_payments
    group by source_system
),

---------- returns: what comes back of an item in all

latest_returns as (
    select distinct on (source_system, return_id)
        source_system,
        order_item_id,
        quantity,
        refund_amount
    from delivered_returns
    order by source_system, return_id, {{ latest_version_first() }}
),

returned_items as (
    select
        source_system,
        order_item_id,
        count(*) as return_count,
        sum(quantity) as returned_quantity,
        sum(refund_amount) as refund_amount
    from latest_returns
    group by source_system, order_item_id
),

return_flags as (
    select
        returned_items.source_system,
        sum(returned_items.return_count)::bigint as latest_count,
        sum(returned_items.return_count) filter (where items.order_item_id is null)::bigint as waiting_count,
        sum(returned_items.return_count) filter (where returned_items.returned_quantity > items.quantity)::bigint
            as quantity_count,
        sum(returned_items.return_count) filter (where returned_items.refund_amount > items.line_total)::bigint
            as refund_count
    from returned_items
    left join items
        on returned_items.source_system = items.source_system
        and returned_items.order_item_id = items.order_item_id
    group by returned_items.source_system
),

uncounted_returns as (
    select source_system, count(*) as uncounted_count from returns
    where not is_counted
    group by source_system
),

return_deliveries as (
    select source_system, count(*) as delivered_count from delivered_returns
    group by source_system
),

---------- inventory: within a month a day's stock follows from the day before

latest_inventory as (
    select distinct on (source_system, product_id, snapshot_date)
        source_system,
        product_id,
        snapshot_date,
        on_hand_quantity,
        received_quantity,
        sold_quantity
    from delivered_inventory
    order by source_system, product_id, snapshot_date, {{ latest_version_first() }}
),

followed_inventory as (
    select
        *,
        lag(on_hand_quantity) over previous_days as previous_quantity,
        lag(snapshot_date) over previous_days as previous_date
    from latest_inventory
    window previous_days as (partition by source_system, product_id order by snapshot_date)
),

product_stocks as (
    select
        source_system,
        product_id,
        count(*) as day_count,
        -- the first of a month is a recount, and a day after a missing one follows from nothing known
        count(*) filter (
            where previous_date = snapshot_date - 1
                and extract(day from snapshot_date) > 1
                and on_hand_quantity <> previous_quantity + received_quantity - sold_quantity
        ) as broken_count
    from followed_inventory
    group by source_system, product_id
),

known_products as (
    select distinct source_system, product_id from products
    where not is_inferred
),

inventory_flags as (
    select
        product_stocks.source_system,
        sum(product_stocks.day_count)::bigint as latest_count,
        sum(product_stocks.day_count) filter (where known_products.product_id is null)::bigint as unknown_count,
        sum(product_stocks.broken_count)::bigint as broken_count
    from product_stocks
    left join known_products
        on product_stocks.source_system = known_products.source_system
        and product_stocks.product_id = known_products.product_id
    group by product_stocks.source_system
),

inventory_deliveries as (
    select source_system, count(*) as delivered_count from delivered_inventory
    group by source_system
),

---------- web events and marketing spend

web_event_flags as (
    select
        source_system,
        sum(version_count - 1)::bigint as superseded_count,
        count(*) filter (where is_customer_unknown) as unknown_customer_count,
        count(*) filter (where is_product_unknown) as unknown_product_count
    from flagged_web_events
    group by source_system
),

latest_spend as (
    select distinct on (source_system, spend_date, channel, campaign)
        source_system,
        impression_count,
        click_count
    from delivered_spend
    order by source_system, spend_date, channel, campaign, {{ latest_version_first() }}
),

spend_flags as (
    select
        source_system,
        count(*) as latest_count,
        count(*) filter (where click_count > impression_count) as mismatch_count
    from latest_spend
    group by source_system
),

spend_deliveries as (
    select source_system, count(*) as delivered_count from delivered_spend
    group by source_system
),

flags as (
    select source_system, 'customers' as entity, 'inferred_customer' as kind, inferred_count as row_count
    from customer_flags
    union all
    select customer_deliveries.source_system, 'customers', 'superseded_version',
        customer_deliveries.delivered_count - coalesce(customer_flags.version_count, 0)
    from customer_deliveries
    left join customer_flags
        on customer_deliveries.source_system = customer_flags.source_system

    union all
    select source_system, 'products', 'inferred_product', inferred_count from product_flags
    union all
    select product_deliveries.source_system, 'products', 'superseded_version',
        product_deliveries.delivered_count - coalesce(product_flags.version_count, 0)
    from product_deliveries
    left join product_flags
        on product_deliveries.source_system = product_flags.source_system

    union all
    select source_system, 'orders', 'superseded_version', superseded_count from order_flags
    union all
    select source_system, 'orders', 'incomplete_order', incomplete_count from order_flags
    union all
    select source_system, 'orders', 'order_without_items', empty_count from order_flags
    union all
    select source_system, 'orders', 'total_mismatch', mismatch_count from order_flags
    union all
    select source_system, 'orders', 'guest_order', guest_count from order_flags

    union all
    select source_system, 'order_items', 'superseded_version', superseded_count from item_deliveries
    union all
    select source_system, 'order_items', 'orphan_item_waiting', waiting_count from suspect_flags
    union all
    select source_system, 'order_items', 'line_total_mismatch', mismatch_count from suspect_flags
    union all
    select source_system, 'order_items', 'duplicate_line', duplicate_count from item_flags
    union all
    select source_system, 'order_items', 'unknown_cost', unknown_cost_count from item_flags

    union all
    select payment_deliveries.source_system, 'payments', 'superseded_version',
        payment_deliveries.delivered_count - payment_flags.latest_count
    from payment_deliveries
    inner join payment_flags
        on payment_deliveries.source_system = payment_flags.source_system
    union all
    select source_system, 'payments', 'orphan_payment_waiting', waiting_count from payment_flags
    union all
    select source_system, 'payments', 'captured_amount_mismatch', mismatch_count from payment_flags

    union all
    select return_deliveries.source_system, 'returns', 'superseded_version',
        return_deliveries.delivered_count - return_flags.latest_count
    from return_deliveries
    inner join return_flags
        on return_deliveries.source_system = return_flags.source_system
    union all
    select source_system, 'returns', 'orphan_return_waiting', waiting_count from return_flags
    union all
    select source_system, 'returns', 'quantity_exceeds_item', quantity_count from return_flags
    union all
    select source_system, 'returns', 'refund_exceeds_item', refund_count from return_flags
    union all
    select source_system, 'returns', 'return_of_cancelled_order', uncounted_count from uncounted_returns

    union all
    select inventory_deliveries.source_system, 'inventory', 'superseded_version',
        inventory_deliveries.delivered_count - inventory_flags.latest_count
    from inventory_deliveries
    inner join inventory_flags
        on inventory_deliveries.source_system = inventory_flags.source_system
    union all
    select source_system, 'inventory', 'unknown_product', unknown_count from inventory_flags
    union all
    select source_system, 'inventory', 'stock_mismatch', broken_count from inventory_flags

    union all
    select source_system, 'web_events', 'superseded_version', superseded_count from web_event_flags
    union all
    select source_system, 'web_events', 'unknown_customer', unknown_customer_count from web_event_flags
    union all
    select source_system, 'web_events', 'unknown_product', unknown_product_count from web_event_flags

    union all
    select spend_deliveries.source_system, 'marketing_spend', 'superseded_version',
        spend_deliveries.delivered_count - spend_flags.latest_count
    from spend_deliveries
    inner join spend_flags
        on spend_deliveries.source_system = spend_flags.source_system
    union all
    select source_system, 'marketing_spend', 'clicks_exceed_impressions', mismatch_count from spend_flags
)

select source_system, entity, kind, row_count
from flags
where row_count <> 0
