{{ config(
    incremental_strategy='touched_keys',
    unique_key=['source_system', 'order_item_id'],
    meta={
        'partition_by_month': 'order_date',
        'touched': {'key': 'order_item_id', 'days': ['order_date', 'cancelled_date']},
    },
    indexes=[
        {'columns': ['source_system', 'order_item_id', 'order_date'], 'unique': true},
        {'columns': ['source_system', 'order_id']},
        {'columns': ['source_system', 'product_id', 'ordered_at']},
        {'columns': ['order_date']},
        {'columns': ['cancelled_date']},
    ],
) }}

{%- set window = open_window() -%}
{%- set touched_query -%}
    {{ touched_orders_by_loads(window) }}
    union all
    select source_system, key as order_id from ({{ touched_by(window, 'fact_orders') }}) as orders
    union all
    -- orders with an item inside an interval of its product that changed
    select items.source_system, items.order_id
    from ({{ touched_by(window, 'dim_products') }}) as products
    inner join {{ this }} as items
        on products.source_system = items.source_system
        and products.key = items.product_id
        and items.ordered_at >= products.changed_from
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'order_id'], touched_query) -%}
{%- set items = touched_items_of_orders(window, touched) %}

-- materialized: else the planner, who cannot know how many items there are, asks every partition for every item
with orders as {{ 'materialized ' if touched.mode == 'some' }}(
    select * from {{ ref('fact_orders') }}
    where {{ is_touched(touched) }}
),

delivered_items as (
    {{ delivered_items_of_orders(touched, items) }}
),

products as (
    select * from {{ ref('dim_products') }}
),

item_versions as (
    select
        *,
        row_number() over (
            partition by source_system, order_item_id
            order by {{ latest_version_first() }}
        ) as recency
    from delivered_items
),

-- an item without its order waits: counted in flagged_rows, here as soon as the order is
items as (
    select
        item_versions.source_system,
        item_versions.order_item_id,
        item_versions.order_id,
        item_versions.product_id,
        item_versions.line_type,
        item_versions.is_duplicate,
        item_versions.quantity,
        item_versions.unit_price,
        item_versions.discount_amount,
        item_versions.line_total,
        orders.order_key,
        orders.customer_id,
        orders.customer_key,
        orders.order_date,
        orders.ordered_at,
        -- only what a cancellation takes back has its date
        case when item_versions.line_type in ('sale', 'cancellation') then orders.cancelled_date end as cancelled_date,
        orders.is_guest,
        orders.currency,
        orders.order_type <> 'cancellation' and orders.cancelled_at is not null as is_order_cancelled
    from item_versions
    inner join orders
        on item_versions.source_system = orders.source_system
        and item_versions.order_id = orders.order_id
    where item_versions.recency = 1
),

priced as (
    select
        items.*,
        products.product_key,
        products.cost as unit_cost
    from items
    left join products
        on items.source_system = products.source_system
        and items.product_id = products.product_id
        and items.ordered_at >= products.valid_from
        and items.ordered_at < products.valid_to
)

select
    {{ surrogate_key(['source_system', 'order_item_id']) }} as order_item_key,
    source_system,
    order_item_id,
    order_id,
    order_key,
    product_id,
    product_key,
    customer_id,
    customer_key,

    order_date,
    ordered_at,
    cancelled_date,

    line_type,
    is_guest,
    is_duplicate,

    quantity::bigint as quantity,
    unit_price::numeric(18, 4) as unit_price,
    unit_cost::numeric(18, 4) as unit_cost,
    currency,
    {{ line_amounts() }}
from priced
