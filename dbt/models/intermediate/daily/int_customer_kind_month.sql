{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'month'],
        meta={'touched': {'days': ['month']}},
        indexes=[{'columns': ['source_system', 'month'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_months -%}
    select source_system, day as month from ({{ touched_by(window, 'int_customer_month') }}) as customer_months
    union all
    -- whoever is new in one of these was not, or no longer is
    select source_system, date_trunc('month', day::timestamp)::date as month
    from ({{ touched_by(window, 'int_customer_first_order') }}) as first_orders
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'month'], touched_months, days=['month']) %}

with

customer_months as (

    select * from {{ ref('int_customer_month') }}
    where {{ is_touched(touched) }}

),

first_orders as (

    select * from {{ ref('int_customer_first_order') }}

),

-- Of some customers only cancellations of earlier sales are known: they are not new.

kinds as (

    select
        customer_months.*,
        coalesce(first_orders.first_order_date >= customer_months.month, false)
        and customer_months.order_count > 0 as is_new,
        {{ net_amount(
            'customer_months.gross_amount', 'customer_months.discount_amount',
            'customer_months.cancelled_amount', 'customer_months.refund_amount'
        ) }} as net_amount
    from customer_months
    left join first_orders
        on customer_months.source_system = first_orders.source_system
        and customer_months.customer_id = first_orders.customer_id

),

summed as (

    select
        -- ids
        source_system,
        month,

        -- numbers
        count(*) filter (where is_new) as new_customer_count,
        count(*) filter (where not is_new and order_count > 0) as returning_customer_count,
        coalesce(sum(order_count) filter (where is_new), 0)::bigint as new_customer_order_count,
        coalesce(sum(order_count) filter (where not is_new), 0)::bigint as returning_customer_order_count,
        coalesce(sum(net_amount) filter (where is_new), 0)::numeric(18, 4) as new_customer_net_amount,
        coalesce(sum(net_amount) filter (where not is_new), 0)::numeric(18, 4) as returning_customer_net_amount
    from kinds
    group by source_system, month

)

select * from summed
