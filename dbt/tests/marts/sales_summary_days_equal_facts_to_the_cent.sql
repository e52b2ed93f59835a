-- Each day's measures are those of the facts: sales on the order's date, cancellations and refunds on theirs.

with

summary as (

    select * from {{ ref('sales_summary') }}
    where period_type = 'day'
        and (
        {{ is_day_touched('fact_orders', 'period_start') }} or {{ is_day_touched('fact_order_items', 'period_start') }}
        or {{ is_day_touched('fact_returns', 'period_start') }}
    )

),

orders as not materialized (

    select * from {{ ref('fact_orders') }}

),

order_items as not materialized (

    select * from {{ ref('fact_order_items') }}

),

returns as (

    select * from {{ ref('fact_returns') }}

),

parts as (

    select
        source_system,
        order_date as day,
        count(*) filter (where order_type = 'sale') as order_count,
        0 as cancelled_order_count,
        sum(shipping_cost) as shipping_amount,
        sum(tax_amount) as tax_amount,
        0 as gross_amount,
        0 as discount_amount,
        0 as cancelled_amount,
        0 as fee_amount,
        0 as adjustment_amount,
        0 as returned_unit_count,
        0 as refund_amount
    from orders
    where (
        {{ is_day_touched('fact_orders', 'order_date') }} or {{ is_day_touched('fact_order_items', 'order_date') }}
        or {{ is_day_touched('fact_returns', 'order_date') }}
    )
    group by 1, 2

    union all

    select source_system, cancelled_date, 0, count(*), 0, 0, 0, 0, 0, 0, 0, 0, 0
    from orders
    where cancelled_date is not null and (
        {{ is_day_touched('fact_orders', 'cancelled_date') }} or {{ is_day_touched('fact_order_items', 'cancelled_date') }}
        or {{ is_day_touched('fact_returns', 'cancelled_date') }}
    )
    group by 1, 2

    union all

    select
        source_system, order_date, 0, 0, 0, 0,
        sum(gross_amount), sum(discount_amount), 0, sum(fee_amount), sum(adjustment_amount), 0, 0
    from order_items
    where (
        {{ is_day_touched('fact_orders', 'order_date') }} or {{ is_day_touched('fact_order_items', 'order_date') }}
        or {{ is_day_touched('fact_returns', 'order_date') }}
    )
    group by 1, 2

    union all

    select source_system, cancelled_date, 0, 0, 0, 0, 0, 0, sum(cancelled_amount), 0, 0, 0, 0
    from order_items
    where cancelled_date is not null and (
        {{ is_day_touched('fact_orders', 'cancelled_date') }} or {{ is_day_touched('fact_order_items', 'cancelled_date') }}
        or {{ is_day_touched('fact_returns', 'cancelled_date') }}
    )
    group by 1, 2

    union all

    -- a return of a cancelled order was taken back with it
    select
        returns.source_system, returns.returned_date, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        sum(returns.quantity), sum(returns.delivered_refund_amount)
    from returns
    inner join order_items
        on returns.source_system = order_items.source_system
        and returns.order_item_id = order_items.order_item_id
        and returns.order_date = order_items.order_date
    where order_items.cancelled_quantity = 0
        and (
            {{ is_day_touched('fact_orders', 'returns.returned_date') }}
            or {{ is_day_touched('fact_order_items', 'returns.returned_date') }}
            or {{ is_day_touched('fact_returns', 'returns.returned_date') }}
        )
    group by 1, 2

),

facts as (

    select
        source_system,
        day,
        sum(order_count) as order_count,
        sum(cancelled_order_count) as cancelled_order_count,
        sum(shipping_amount) as shipping_amount,
        sum(tax_amount) as tax_amount,
        sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount,
        sum(cancelled_amount) as cancelled_amount,
        sum(fee_amount) as fee_amount,
        sum(adjustment_amount) as adjustment_amount,
        sum(returned_unit_count) as returned_unit_count,
        sum(refund_amount) as refund_amount
    from parts
    group by 1, 2

)

select
    coalesce(summary.source_system, facts.source_system) as source_system,
    coalesce(summary.period_start, facts.day) as day,
    summary.net_amount,
    facts.gross_amount - facts.discount_amount - facts.cancelled_amount - facts.refund_amount as expected_net_amount
from summary
full join facts
    on summary.source_system = facts.source_system
    and summary.period_start = facts.day
where
    (
        summary.order_count, summary.cancelled_order_count, summary.shipping_amount, summary.tax_amount,
        summary.gross_amount, summary.discount_amount, summary.cancelled_amount, summary.fee_amount,
        summary.adjustment_amount, summary.returned_unit_count, summary.refund_amount, summary.net_amount
    ) is distinct from (
        facts.order_count, facts.cancelled_order_count, facts.shipping_amount, facts.tax_amount,
        facts.gross_amount, facts.discount_amount, facts.cancelled_amount, facts.fee_amount,
        facts.adjustment_amount, facts.returned_unit_count, facts.refund_amount,
        facts.gross_amount - facts.discount_amount - facts.cancelled_amount - facts.refund_amount
    )
