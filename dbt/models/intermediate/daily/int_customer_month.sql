{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'customer_id', 'month'],
        meta={'touched': {'days': ['month']}},
        indexes=[
            {'columns': ['source_system', 'customer_id', 'month'], 'unique': True},
            {'columns': ['source_system', 'month', 'customer_id', 'order_count']},
        ],
    )
}}

{%- set window = open_window() -%}
{%- set touched_months -%}
    select source_system, customer_id, date_trunc('month', day::timestamp)::date as month
    from ({{ touched_by(window, 'int_customer_day') }}) as customer_days
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'customer_id', 'month'], touched_months, days=['month']) %}

with

customer_days as (

    select
        *,
        date_trunc('month', day::timestamp)::date as month
    from {{ ref('int_customer_day') }}

),

touched_customer_days as (

    select * from customer_days
    where {{ is_touched(touched) }}
        and {{ is_in_touched_periods(touched, 'day', 'month') }}

),

summed as (

    select
        -- ids
        source_system,
        customer_id,
        month,

        -- dates
        min(day) filter (where order_count > 0) as first_order_date,
        max(day) filter (where order_count > 0) as last_order_date,
        (array_agg(day order by day) filter (where order_count > 0))[2] as repeat_order_date,
        min(day) filter (where kept_order_count > 0) as first_kept_order_date,
        max(day) filter (where kept_order_count > 0) as last_kept_order_date,

        -- numbers
        {{ sum_measures() }}
    from touched_customer_days
    group by source_system, customer_id, month

)

-- In order, so that a customer's months lie together where a full build wrote them, and are read from few pages.

select * from summed
order by source_system, customer_id, month
