{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'day'],
        meta={'touched': {'days': ['day']}},
        indexes=[{'columns': ['source_system', 'day'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_days -%}
    select source_system, day from ({{ touched_by(window, 'fact_orders') }}) as orders
    union all
    select source_system, day from ({{ touched_by(window, 'fact_order_items') }}) as order_items
    union all
    select source_system, day from ({{ touched_by(window, 'fact_returns') }}) as returns
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'day'], touched_days, days=['day']) %}

with

events as (

    select * from {{ ref('int_sales_events') }}
    where {{ is_touched(touched) }}

),

summed as (

    select
        -- ids
        source_system,
        day,

        -- text
        min(currency) as currency,

        -- numbers
        {{ sum_measures() }},
        (sum(order_count) filter (where customer_id is null))::bigint as guest_order_count,
        sum(
            {{ net_amount('gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount') }}
        ) filter (where customer_id is null) as guest_net_amount
    from events
    group by source_system, day

),

final as (

    select
        source_system,
        day,
        currency,
        {% for measure in additive_measures() -%}
        {{ measure }},
        {% endfor -%}
        coalesce(guest_order_count, 0) as guest_order_count,
        coalesce(guest_net_amount, 0)::numeric(18, 4) as guest_net_amount
    from summed

)

select * from final
