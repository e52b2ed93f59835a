{{ config(
    incremental_strategy='touched_keys',
    unique_key=['source_system', 'return_id'],
    meta={
        'partition_by_month': 'returned_date',
        'touched': {'key': 'return_id', 'days': ['returned_date']},
    },
    indexes=[
        {'columns': ['source_system', 'return_id', 'returned_date'], 'unique': true},
        {'columns': ['source_system', 'order_item_id']},
        {'columns': ['source_system', 'order_id']},
        {'columns': ['source_system', 'customer_id']},
        {'columns': ['source_system', 'product_id']},
        {'columns': ['returned_date']},
    ],
) }}

{%- set window = open_window() -%}
{#- Returns by their items: also those that waited for one. -#}
{%- set item_query -%}
    select source_system, key as order_item_id from ({{ touched_by(window, 'fact_order_items') }}) as items
    union all
    select items.source_system, items.order_item_id
    from ({{ touched_by(window, 'fact_orders') }}) as orders
    inner join {{ ref('fact_order_items') }} as items
        on orders.source_system = items.source_system
        and orders.key = items.order_id
        and orders.day = items.order_date
{%- endset -%}
{%- set items = touched_keys(window, ['source_system', 'order_item_id'], item_query, name='items') -%}
{%- set touched_query -%}
    select source_system, key as return_id from ({{ touched_by_loads(window, 'returns') }}) as returns
    union all
    select source_system, return_id from {{ ref('stg_returns') }} where {{ is_touched(items) }}
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'return_id'], touched_query) -%}
{#- The items of all versions of the touched returns: they are read by their keys. -#}
{%- set returned_query -%}
    select source_system, order_item_id from {{ ref('stg_returns') }} where {{ is_touched(touched) }}
{%- endset -%}
{%- set returned_items = touched_keys(
    window, ['source_system', 'order_item_id'], returned_query, name='returned_items') -%}
{%- set returned_orders_query -%}
    select source_system, order_id from {{ ref('fact_order_items') }} where {{ is_touched(returned_items) }}
{%- endset -%}
{%- set returned_orders = touched_keys(
    window, ['source_system', 'order_id'], returned_orders_query, name='returned_orders') %}

with delivered as (
    select * from {{ ref('stg_returns') }}
    where {{ is_touched(touched) }}
),

-- materialized: else every partition is asked for every return
order_items as {{ 'materialized ' if touched.mode == 'some' }}(
    select * from {{ ref('fact_order_items') }}
    where {{ is_touched(returned_items) }}
),

orders as {{ 'materialized ' if touched.mode == 'some' }}(
    select * from {{ ref('fact_orders') }}
    where {{ is_touched(returned_orders) }}
),

versions as (
    select
        *,
        row_number() over (
            partition by source_system, return_id
            order by {{ latest_version_first() }}
        ) as recency
    from delivered
),

-- a return whose item is not there waits: counted in flagged_rows, here as soon as the item is
returns as (
    select
        versions.source_system,
        versions.return_id,
        versions.order_item_id,
        versions.return_reason,
        versions.quantity,
        versions.refund_amount,
        versions.returned_at,
        versions.returned_date,
        order_items.order_item_key,
        order_items.order_id,
        order_items.order_key,
        order_items.product_id,
        order_items.product_key,
        order_items.customer_id,
        order_items.customer_key,
        order_items.order_date,
        order_items.ordered_at,
        order_items.is_guest,
        order_items.currency,
        order_items.unit_cost,
        -- a cancellation took back the whole line already
        order_items.line_type = 'sale' and order_items.cancelled_date is null as is_counted
    from versions
    inner join order_items
        on versions.source_system = order_items.source_system
        and versions.order_item_id = order_items.order_item_id
    where versions.recency = 1
)

select
    {{ surrogate_key(['returns.source_system', 'returns.return_id']) }} as return_key,
    returns.source_system,
    returns.return_id,
    returns.order_item_id,
    returns.order_item_key,
    returns.order_id,
    returns.order_key,
    returns.product_id,
    returns.product_key,
    returns.customer_id,
    returns.customer_key,

    returns.returned_date,
    returns.returned_at,
    returns.order_date,
    returns.ordered_at,
    (returns.returned_date - returns.order_date)::integer as days_since_order,
    (
        returns.returned_date - (orders.delivered_at at time zone {{ source_time_zone('returns.source_system') }})::date
    )::integer as days_to_return,

    returns.return_reason,
    returns.is_guest,
    returns.is_counted,

    returns.quantity::bigint as quantity,
    returns.unit_cost::numeric(18, 4) as unit_cost,
    returns.currency,
    returns.refund_amount::numeric(18, 4) as delivered_refund_amount,
    {{ return_amounts('returns') }}
from returns
inner join orders
    on returns.source_system = orders.source_system
    and returns.order_id = orders.order_id
    and returns.order_date = orders.order_date
