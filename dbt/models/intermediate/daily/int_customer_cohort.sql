{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'customer_id'],
        meta={'touched': {'days': ['cohort_month']}},
        indexes=[
            {'columns': ['source_system', 'customer_id'], 'unique': True},
            {'columns': ['source_system', 'cohort_month']},
        ],
    )
}}

{%- set window = open_window() -%}
{%- set touched_customers -%}
    select source_system, customer_id from ({{ touched_by(window, 'int_customer_totals') }}) as totals
    union all
    select source_system, customer_id from ({{ touched_by(window, 'int_customer_day') }}) as customer_days
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'customer_id'], touched_customers) %}

with

totals as (

    select * from {{ ref('int_customer_totals') }}
    where first_order_date is not null
        and {{ is_touched(touched) }}

),

customer_days as (

    select * from {{ ref('int_customer_day') }}
    where order_count > 0

),

-- The second day is looked up by the index, whatever the number of days of the customer.

final as (

    select
        -- ids
        totals.source_system,
        totals.customer_id,

        -- dates
        date_trunc('month', totals.first_order_date::timestamp)::date as cohort_month,
        totals.first_order_date,
        repeats.day as repeat_order_date
    from totals
    left join lateral (
        select customer_days.day
        from customer_days
        where customer_days.source_system = totals.source_system
            and customer_days.customer_id = totals.customer_id
            and customer_days.day > totals.first_order_date
        order by customer_days.day
        limit 1
    ) as repeats on totals.last_order_date > totals.first_order_date

)

select * from final
