{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'product_id', 'month', 'return_reason'],
        meta={'touched': {'days': ['month']}},
        indexes=[{'columns': ['source_system', 'product_id', 'month', 'return_reason'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_months -%}
    select source_system, product_id, date_trunc('month', day::timestamp)::date as month
    from ({{ touched_by(window, 'fact_returns') }}) as returns
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'product_id', 'month'], touched_months, days=['month']) %}

with

returns as (

    select
        *,
        date_trunc('month', returned_date::timestamp)::date as month
    from {{ ref('fact_returns') }}
    where product_id is not null

),

touched_returns as (

    select * from returns
    where {{ is_touched(touched) }}
        and {{ is_in_touched_periods(touched, 'returned_date', 'month') }}

),

summed as (

    select
        -- ids
        source_system,
        product_id,
        month,

        -- text
        return_reason,

        -- dates
        min(returned_date) filter (where is_counted) as first_returned_date,
        max(returned_date) filter (where is_counted) as last_returned_date,

        -- numbers: of the returns that count, but for the one that says how many do not
        count(*) filter (where is_counted) as return_count,
        count(*) filter (where not is_counted) as uncounted_return_count,
        sum(returned_quantity)::bigint as returned_unit_count,
        sum(refund_amount)::numeric(18, 4) as refund_amount,
        sum(coalesce(returned_cost_amount, 0))::numeric(18, 4) as returned_cost_amount,
        count(*) filter (where is_counted and returned_cost_amount is null) as unknown_cost_count,
        coalesce(sum(days_since_order) filter (where is_counted), 0)::bigint as days_since_order_total,
        count(days_to_return) filter (where is_counted) as known_delivery_count,
        coalesce(sum(days_to_return) filter (where is_counted), 0)::bigint as days_to_return_total
    from touched_returns
    group by source_system, product_id, month, return_reason

)

select * from summed
