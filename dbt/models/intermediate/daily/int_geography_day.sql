{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'geography_key', 'day'],
        meta={'touched': {'key': 'geography_key', 'days': ['day']}},
        indexes=[
            {'columns': ['source_system', 'geography_key', 'day'], 'unique': True},
            {'columns': ['source_system', 'day']},
        ],
    )
}}

{%- set window = open_window() -%}
{%- set touched_days -%}
    select source_system, day from ({{ touched_by(window, 'fact_orders') }}) as orders
    union all
    select source_system, day from ({{ touched_by(window, 'fact_order_items') }}) as order_items
    union all
    select source_system, day from ({{ touched_by(window, 'fact_returns') }}) as returns
    union all
    -- a corrected version of a customer may name another place
    {{ days_of_touched_customers(window) }}
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'day'], touched_days, days=['day']) %}

with

events as (

    select * from {{ ref('int_sales_events') }}
    where {{ is_touched(touched) }}

),

customers as (

    select * from {{ ref('dim_customers') }}

),

-- Guests, and customers nobody delivered, are at the unknown place.

summed as (

    select
        -- ids
        events.source_system,
        -- as text: sets of touched keys are
        ({{ geography_key('customers.country', 'customers.state', 'customers.city') }})::text as geography_key,
        events.day,

        -- numbers
        {{ sum_measures(prefix='events.') }}
    from events
    left join customers on events.customer_key = customers.customer_key
    group by events.source_system, geography_key, events.day

)

select * from summed
