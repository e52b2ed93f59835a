{%- set measures = [
    'unit_count', 'cancelled_unit_count', 'returned_unit_count',
    'gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount',
    'cost_amount', 'cancelled_cost_amount', 'returned_cost_amount', 'unknown_cost_count',
] -%}

{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'product_id', 'day'],
        meta={'touched': {'days': ['day']}},
        indexes=[
            {'columns': ['source_system', 'product_id', 'day'], 'unique': True},
            {'columns': ['source_system', 'day']},
        ],
    )
}}

{%- set window = open_window() -%}
{%- set touched_days -%}
    select source_system, product_id, day from ({{ touched_by(window, 'fact_order_items') }}) as order_items
    union all
    select source_system, product_id, day from ({{ touched_by(window, 'fact_returns') }}) as returns
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'product_id', 'day'], touched_days, days=['day']) %}

with

events as (

    select * from {{ ref('int_sales_events') }}
    where product_id is not null
        and {{ is_touched(touched) }}

),

summed as (

    select
        -- ids
        source_system,
        product_id,
        day,

        -- numbers: an order has one date, so its count may be summed over days
        (count(distinct order_id) filter (where unit_count > 0))::bigint as order_count,
        {{ sum_measures(measures) }}
    from events
    group by source_system, product_id, day

),

-- fees and adjustments have a code, but are no product

final as (

    select * from summed
    where order_count > 0
        or cancelled_unit_count <> 0
        or gross_amount <> 0
        or cancelled_amount <> 0
        or returned_unit_count <> 0
        or refund_amount <> 0

)

-- In the order of time, as later days come, so that the rows of a month are read from few pages.

select * from final
order by source_system, day, product_id
