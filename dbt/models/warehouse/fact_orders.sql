{{ config(
    incremental_strategy='touched_keys',
    unique_key=['source_system', 'order_id'],
    meta={
        'partition_by_month': 'order_date',
        'touched': {'key': 'order_id', 'days': ['order_date', 'cancelled_date']},
    },
    indexes=[
        {'columns': ['source_system', 'order_id', 'order_date'], 'unique': true},
        {'columns': ['source_system', 'customer_id', 'ordered_at']},
        {'columns': ['order_date']},
        {'columns': ['cancelled_date']},
    ],
) }}

{%- set window = open_window() -%}
{%- set touched_query -%}
    {{ touched_orders_by_loads(window) }}
    union all
    -- orders inside an interval of their customer that changed
    select orders.source_system, orders.order_id
    from ({{ touched_by(window, 'dim_customers') }}) as customers
    inner join {{ this }} as orders
        on customers.source_system = orders.source_system
        and customers.key = orders.customer_id
        and orders.ordered_at >= customers.changed_from
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'order_id'], touched_query) -%}
{%- set items = touched_items_of_orders(window, touched) %}

with delivered_orders as (
    select * from {{ ref('stg_orders') }}
    where {{ is_touched(touched) }}
),

delivered_items as (
    {{ delivered_items_of_orders(touched, items) }}
),

customers as (
    select * from {{ ref('dim_customers') }}
),

rejected_items as (
    select * from {{ ref('int_rejected_order_items') }}
),

sale_sizes as (
    {{ sale_size_bounds() }}
),

order_versions as (
    select
        *,
        row_number() over (
            partition by source_system, order_id
            order by {{ latest_version_first() }}
        ) as recency,
        count(*) over (partition by source_system, order_id) as version_count,
        min(version_at) filter (where order_status = 'cancelled') over (
            partition by source_system, order_id
        ) as status_cancelled_at
    from delivered_orders
),

orders as (
    select
        *,
        case
            when order_type = 'cancellation' then ordered_at
            when order_status = 'cancelled' then status_cancelled_at
        end as cancelled_at,
        case
            when order_type = 'cancellation' then order_date
            when order_status = 'cancelled'
                then (status_cancelled_at at time zone {{ source_time_zone('source_system') }})::date
        end as cancelled_date
    from order_versions
    where recency = 1
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

items as (
    select
        item_versions.*,
        null::numeric as unit_cost,
        orders.order_type <> 'cancellation' and orders.cancelled_at is not null as is_order_cancelled
    from item_versions
    inner join orders
        on item_versions.source_system = orders.source_system
        and item_versions.order_id = orders.order_id
    where item_versions.recency = 1
),

item_amounts as (
    select
        source_system,
        order_id,
        line_type,
        quantity,
        line_total as delivered_line_total,
        {{ line_amounts() }}
    from items
),

item_totals as (
    select
        source_system,
        order_id,
        count(*) as item_count,
        sum(quantity) filter (where line_type = 'sale') as unit_count,
        sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount,
        sum(fee_amount) as fee_amount,
        sum(adjustment_amount) as adjustment_amount,
        sum(cancelled_amount) as cancelled_amount,
        sum(delivered_line_total) as lines_total
    from item_amounts
    group by source_system, order_id
)

select
    {{ surrogate_key(['orders.source_system', 'orders.order_id']) }} as order_key,
    orders.source_system,
    orders.order_id,
    orders.customer_id,
    customers.customer_key,

    orders.order_type,
    orders.order_status,
    case
        when orders.order_type = 'sale' then {{ categorize_sale_size(
            '(coalesce(item_totals.gross_amount, 0) - coalesce(item_totals.discount_amount, 0))'
        ) }}
    end as sale_size,
    orders.payment_method,
    orders.shipping_method,
    orders.currency,

    orders.ordered_at,
    orders.order_date,
    orders.shipped_at,
    orders.delivered_at,
    orders.cancelled_at,
    orders.cancelled_date,

    coalesce(item_totals.item_count, 0)::bigint as item_count,
    coalesce(item_totals.unit_count, 0)::bigint as unit_count,
    coalesce(item_totals.gross_amount, 0)::numeric(18, 4) as gross_amount,
    coalesce(item_totals.discount_amount, 0)::numeric(18, 4) as discount_amount,
    coalesce(orders.shipping_cost, 0)::numeric(18, 4) as shipping_cost,
    coalesce(orders.tax_amount, 0)::numeric(18, 4) as tax_amount,
    orders.total_amount::numeric(18, 4) as total_amount,
    coalesce(item_totals.fee_amount, 0)::numeric(18, 4) as fee_amount,
    coalesce(item_totals.adjustment_amount, 0)::numeric(18, 4) as adjustment_amount,
    coalesce(item_totals.cancelled_amount, 0)::numeric(18, 4) as cancelled_amount,

    orders.customer_id is null as is_guest,
    coalesce(rejected_items.rejected_count, 0) > 0 as is_incomplete,
    orders.total_amount <> {{ order_total(
        'coalesce(item_totals.lines_total, 0)',
        'coalesce(orders.shipping_cost, 0)',
        'coalesce(orders.tax_amount, 0)',
    ) }} as has_total_mismatch,

    orders.version_count::bigint as version_count,
    orders.version_at
from orders
left join customers
    on orders.source_system = customers.source_system
    and orders.customer_id = customers.customer_id
    and orders.ordered_at >= customers.valid_from
    and orders.ordered_at < customers.valid_to
left join sale_sizes on orders.currency = sale_sizes.currency
left join item_totals
    on orders.source_system = item_totals.source_system
    and orders.order_id = item_totals.order_id
left join rejected_items
    on orders.source_system = rejected_items.source_system
    and orders.order_id = rejected_items.order_id
