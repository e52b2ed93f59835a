{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'customer_id'],
        meta={'touched': {'key': 'customer_id', 'days': ['first_order_date']}},
        indexes=[
            {'columns': ['source_system', 'customer_id'], 'unique': True},
            {'columns': ['source_system', 'cohort_month']},
        ],
    )
}}

{%- set window = open_window() -%}
{%- set touched_customers -%}
    select source_system, customer_id from ({{ touched_by(window, 'int_customer_totals') }}) as totals
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'customer_id'], touched_customers) %}

with

totals as (

    select * from {{ ref('int_customer_totals') }}
    where {{ is_touched(touched) }}

),

-- A table of its own, so that a further order touches no month but its own, and a new first order the months it moves
-- between.

first_orders as (

    select
        -- ids
        source_system,
        customer_id,

        -- dates
        first_order_date,
        date_trunc('month', first_order_date::timestamp)::date as cohort_month
    from totals
    where first_order_date is not null

)

select * from first_orders
