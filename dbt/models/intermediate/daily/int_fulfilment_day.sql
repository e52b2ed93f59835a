{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'day', 'shipping_method', 'country'],
        meta={'touched': {'days': ['day']}},
        indexes=[{'columns': ['source_system', 'day', 'shipping_method', 'country'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_days -%}
    select source_system, day from ({{ touched_by(window, 'fact_orders') }}) as orders
    union all
    -- a corrected version of a customer may name another country
    {{ days_of_touched_customers(window) }}
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'day'], touched_days, days=['day']) %}

with

orders as (

    select * from {{ ref('fact_orders') }}
    where order_type = 'sale'
        and {{ is_touched(touched, {'day': 'order_date'}) }}

),

customers as (

    select * from {{ ref('dim_customers') }}

),

promises as (

    select * from {{ ref('shipping_promises') }}

),

-- Who is sent nothing waits for nothing: times are those of orders that stand.

timed as (

    select
        orders.source_system,
        orders.order_date as day,
        coalesce(orders.shipping_method, 'unknown') as shipping_method,
        coalesce(customers.country, 'unknown') as country,
        orders.cancelled_date is null as is_kept,
        orders.shipping_method is not null as has_shipping,
        orders.delivered_at is not null as is_delivered,
        extract(epoch from orders.shipped_at - orders.ordered_at)::bigint as order_to_ship_seconds,
        extract(epoch from orders.delivered_at - orders.shipped_at)::bigint as ship_to_delivery_seconds,
        extract(epoch from orders.delivered_at - orders.ordered_at)::bigint as order_to_delivery_seconds,
        orders.delivered_at <= orders.ordered_at + make_interval(hours => 24 * promises.promised_days) as is_on_time
    from orders
    left join customers on orders.customer_key = customers.customer_key
    left join promises on orders.shipping_method = promises.shipping_method

),

summed as (

    select
        -- ids
        source_system,
        day,
        shipping_method,
        country,

        -- numbers
        count(*) as order_count,
        count(*) filter (where not is_kept) as cancelled_order_count,
        count(order_to_ship_seconds) filter (where is_kept) as shipped_order_count,
        count(ship_to_delivery_seconds) filter (where is_kept) as tracked_order_count,
        count(order_to_delivery_seconds) filter (where is_kept) as delivered_order_count,
        count(*) filter (where is_kept and is_on_time) as on_time_order_count,
        count(*) filter (where is_kept and not is_on_time) as late_order_count,
        count(*) filter (where is_kept and has_shipping and not is_delivered) as open_order_count,
        coalesce(sum(order_to_ship_seconds) filter (where is_kept), 0)::bigint as order_to_ship_seconds,
        coalesce(sum(ship_to_delivery_seconds) filter (where is_kept), 0)::bigint as ship_to_delivery_seconds,
        coalesce(sum(order_to_delivery_seconds) filter (where is_kept), 0)::bigint as order_to_delivery_seconds
    from timed
    group by source_system, day, shipping_method, country

)

select * from summed
