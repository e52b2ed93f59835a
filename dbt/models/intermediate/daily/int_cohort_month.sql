{%- set measures = ['order_count', 'gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount'] -%}

{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'cohort_month', 'month'],
        indexes=[{'columns': ['source_system', 'cohort_month', 'month'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{#- Who changes the cohort takes all months along: those there are, and those there were. -#}
{%- set touched_cells -%}
    with moved as (
        select source_system, customer_id, date_trunc('month', day::timestamp)::date as cohort_month
        from ({{ touched_by(window, 'int_customer_first_order') }}) as first_orders
    ),

    changed as (
        select source_system, customer_id, day as month
        from ({{ touched_by(window, 'int_customer_month') }}) as months
    ),

    current_months as (
        select source_system, customer_id, month from {{ ref('int_customer_month') }}
        where (source_system, customer_id) in (select source_system, customer_id from moved)
    ),

    current_cohorts as (
        select source_system, customer_id, cohort_month from {{ ref('int_customer_first_order') }}
        where (source_system, customer_id) in (select source_system, customer_id from changed)
    )

    select moved.source_system, moved.cohort_month, current_months.month
    from moved
    inner join current_months
        on moved.source_system = current_months.source_system and moved.customer_id = current_months.customer_id
    union all
    select moved.source_system, moved.cohort_month, changed.month
    from moved
    inner join changed on moved.source_system = changed.source_system and moved.customer_id = changed.customer_id
    union all
    select changed.source_system, current_cohorts.cohort_month, changed.month
    from changed
    inner join current_cohorts
        on changed.source_system = current_cohorts.source_system
        and changed.customer_id = current_cohorts.customer_id
{%- endset -%}
{%- set touched = touched_keys(
    window, ['source_system', 'cohort_month', 'month'], touched_cells, days=['cohort_month', 'month']) %}

with

customers as (

    select * from {{ ref('int_customer_first_order') }}
    where {{ is_touched(touched, columns=['source_system', 'cohort_month']) }}

),

customer_months as (

    select * from {{ ref('int_customer_month') }}
    where {{ is_touched(touched, columns=['source_system', 'month']) }}

),

cells as (

    select
        customer_months.*,
        customers.cohort_month
    from customer_months
    inner join customers
        on customer_months.source_system = customers.source_system
        and customer_months.customer_id = customers.customer_id

),

summed as (

    select
        -- ids
        source_system,
        cohort_month,
        month,

        -- numbers
        count(*) filter (where order_count > 0) as active_customer_count,
        {{ sum_measures(measures) }}
    from cells
    where {{ is_touched(touched) }}
    group by source_system, cohort_month, month

)

select * from summed
