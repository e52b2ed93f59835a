{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'product_id', 'month'],
        meta={'touched': {'days': ['month']}},
        indexes=[{'columns': ['source_system', 'product_id', 'month'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_months -%}
    select source_system, product_id, date_trunc('month', day::timestamp)::date as month
    from ({{ touched_by(window, 'fact_inventory_daily') }}) as stocks
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'product_id', 'month'], touched_months, days=['month']) %}

with

stocks as (

    select
        *,
        date_trunc('month', snapshot_date::timestamp)::date as month
    from {{ ref('fact_inventory_daily') }}

),

touched_stocks as (

    select * from stocks
    where {{ is_touched(touched) }}
        and {{ is_in_touched_periods(touched, 'snapshot_date', 'month') }}

),

summed as (

    select
        -- ids
        source_system,
        product_id,
        month,

        -- dates
        max(snapshot_date) as last_snapshot_date,

        -- numbers
        count(*) as stock_day_count,
        count(*) filter (where is_stocked_out) as stocked_out_day_count,
        count(*) filter (where {{ is_sellable_day() }}) as sellable_day_count,
        sum(on_hand_quantity)::bigint as on_hand_unit_count,
        sum(sold_quantity)::bigint as sold_unit_count,
        sum(received_quantity)::bigint as received_unit_count,
        sum(coalesce(stock_cost_amount, 0))::numeric(18, 4) as stock_cost_amount,
        sum(coalesce(sold_quantity * unit_cost, 0))::numeric(18, 4) as sold_cost_amount,
        count(*) filter (where unit_cost is null) as unknown_cost_count,
        (array_agg(on_hand_quantity order by snapshot_date desc))[1] as last_on_hand_quantity,
        (array_agg(stock_cost_amount order by snapshot_date desc))[1]::numeric(18, 4) as last_stock_cost_amount
    from touched_stocks
    group by source_system, product_id, month

)

select * from summed
