{{ config(materialized='view') }}

with

orders as not materialized (

    select * from {{ ref('fact_orders') }}

),

order_items as not materialized (

    select * from {{ ref('fact_order_items') }}

),

returns as (

    select * from {{ ref('fact_returns') }}
    where is_counted

),

-- A sale counts on the order's date, what was cancelled on the day of its cancellation, what came back on the day of its
-- refund.

orders_placed as (

    select
        -- ids
        source_system,
        order_date as day,
        order_id,
        customer_id,
        customer_key,
        null::text as product_id,

        -- text
        currency,

        -- numbers
        (order_type = 'sale')::integer as order_count,
        (order_type = 'sale' and cancelled_date is null)::integer as kept_order_count,
        0 as cancelled_order_count,
        0 as unit_count,
        0 as cancelled_unit_count,
        0 as returned_unit_count,
        0::numeric(18, 4) as gross_amount,
        0::numeric(18, 4) as discount_amount,
        0::numeric(18, 4) as cancelled_amount,
        0::numeric(18, 4) as refund_amount,
        0::numeric(18, 4) as fee_amount,
        0::numeric(18, 4) as adjustment_amount,
        coalesce(shipping_cost, 0)::numeric(18, 4) as shipping_amount,
        coalesce(tax_amount, 0)::numeric(18, 4) as tax_amount,
        0::numeric(18, 4) as cost_amount,
        0::numeric(18, 4) as cancelled_cost_amount,
        0::numeric(18, 4) as returned_cost_amount,
        0 as unknown_cost_count
    from orders

),

orders_cancelled as (

    select
        source_system,
        cancelled_date as day,
        order_id,
        customer_id,
        customer_key,
        null::text as product_id,
        currency,
        0 as order_count,
        0 as kept_order_count,
        1 as cancelled_order_count,
        0 as unit_count,
        0 as cancelled_unit_count,
        0 as returned_unit_count,
        0::numeric(18, 4) as gross_amount,
        0::numeric(18, 4) as discount_amount,
        0::numeric(18, 4) as cancelled_amount,
        0::numeric(18, 4) as refund_amount,
        0::numeric(18, 4) as fee_amount,
        0::numeric(18, 4) as adjustment_amount,
        0::numeric(18, 4) as shipping_amount,
        0::numeric(18, 4) as tax_amount,
        0::numeric(18, 4) as cost_amount,
        0::numeric(18, 4) as cancelled_cost_amount,
        0::numeric(18, 4) as returned_cost_amount,
        0 as unknown_cost_count
    from orders
    where cancelled_date is not null

),

lines_ordered as (

    select
        source_system,
        order_date as day,
        order_id,
        customer_id,
        customer_key,
        product_id,
        currency,
        0 as order_count,
        0 as kept_order_count,
        0 as cancelled_order_count,
        case when line_type = 'sale' then quantity else 0 end as unit_count,
        0 as cancelled_unit_count,
        0 as returned_unit_count,
        gross_amount,
        discount_amount,
        0::numeric(18, 4) as cancelled_amount,
        0::numeric(18, 4) as refund_amount,
        fee_amount,
        adjustment_amount,
        0::numeric(18, 4) as shipping_amount,
        0::numeric(18, 4) as tax_amount,
        coalesce(cost_amount, 0)::numeric(18, 4) as cost_amount,
        0::numeric(18, 4) as cancelled_cost_amount,
        0::numeric(18, 4) as returned_cost_amount,
        (line_type = 'sale' and cost_amount is null)::integer as unknown_cost_count
    from order_items

),

lines_cancelled as (

    select
        source_system,
        cancelled_date as day,
        order_id,
        customer_id,
        customer_key,
        product_id,
        currency,
        0 as order_count,
        0 as kept_order_count,
        0 as cancelled_order_count,
        0 as unit_count,
        cancelled_quantity as cancelled_unit_count,
        0 as returned_unit_count,
        0::numeric(18, 4) as gross_amount,
        0::numeric(18, 4) as discount_amount,
        cancelled_amount,
        0::numeric(18, 4) as refund_amount,
        0::numeric(18, 4) as fee_amount,
        0::numeric(18, 4) as adjustment_amount,
        0::numeric(18, 4) as shipping_amount,
        0::numeric(18, 4) as tax_amount,
        0::numeric(18, 4) as cost_amount,
        coalesce(cancelled_cost_amount, 0)::numeric(18, 4) as cancelled_cost_amount,
        0::numeric(18, 4) as returned_cost_amount,
        (line_type in ('sale', 'cancellation') and cancelled_cost_amount is null)::integer as unknown_cost_count
    from order_items
    where cancelled_date is not null

),

lines_returned as (

    select
        source_system,
        returned_date as day,
        order_id,
        customer_id,
        customer_key,
        product_id,
        currency,
        0 as order_count,
        0 as kept_order_count,
        0 as cancelled_order_count,
        0 as unit_count,
        0 as cancelled_unit_count,
        returned_quantity as returned_unit_count,
        0::numeric(18, 4) as gross_amount,
        0::numeric(18, 4) as discount_amount,
        0::numeric(18, 4) as cancelled_amount,
        refund_amount,
        0::numeric(18, 4) as fee_amount,
        0::numeric(18, 4) as adjustment_amount,
        0::numeric(18, 4) as shipping_amount,
        0::numeric(18, 4) as tax_amount,
        0::numeric(18, 4) as cost_amount,
        0::numeric(18, 4) as cancelled_cost_amount,
        coalesce(returned_cost_amount, 0)::numeric(18, 4) as returned_cost_amount,
        (returned_cost_amount is null)::integer as unknown_cost_count
    from returns

),

united as (

    select * from orders_placed
    union all
    select * from orders_cancelled
    union all
    select * from lines_ordered
    union all
    select * from lines_cancelled
    union all
    select * from lines_returned

)

select * from united
