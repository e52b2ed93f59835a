{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'customer_id', 'day'],
        meta={'touched': {'days': ['day']}},
        indexes=[
            {'columns': ['source_system', 'customer_id', 'day'], 'unique': True},
            {'columns': ['source_system', 'day']},
        ],
    )
}}

{%- set window = open_window() -%}
{%- set touched_days -%}
    select source_system, customer_id, day from ({{ touched_by(window, 'fact_orders') }}) as orders
    union all
    select source_system, customer_id, day from ({{ touched_by(window, 'fact_order_items') }}) as order_items
    union all
    select source_system, customer_id, day from ({{ touched_by(window, 'fact_returns') }}) as returns
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'customer_id', 'day'], touched_days, days=['day']) %}

with

-- guests have no customer and no row here

events as (

    select * from {{ ref('int_sales_events') }}
    where customer_id is not null
        and {{ is_touched(touched) }}

),

summed as (

    select
        -- ids
        source_system,
        customer_id,
        day,

        -- numbers
        {{ sum_measures() }}
    from events
    group by source_system, customer_id, day

)

-- In the order of time, as later days come, so that the rows of a day or a week are read from few pages.

select * from summed
order by source_system, day, customer_id
