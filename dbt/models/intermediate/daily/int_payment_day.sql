{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'day', 'payment_method'],
        meta={'touched': {'days': ['day']}},
        indexes=[{'columns': ['source_system', 'day', 'payment_method'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_days -%}
    select source_system, day from ({{ touched_by(window, 'fact_payments') }}) as payments
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'day'], touched_days, days=['day']) %}

with

payments as (

    select * from {{ ref('fact_payments') }}
    where {{ is_touched(touched, {'day': 'paid_date'}) }}

),

-- paying back has no attempt number: it is no attempt to pay

summed as (

    select
        -- ids
        source_system,
        paid_date as day,
        payment_method,

        -- text
        min(currency) as currency,

        -- numbers
        count(attempt_number) as attempt_count,
        count(*) filter (where attempt_number = 1) as first_attempt_count,
        count(*) filter (where payment_status = 'failed') as failed_attempt_count,
        count(*) filter (where payment_status = 'failed' and attempt_number = 1) as failed_first_attempt_count,
        count(*) filter (where payment_status = 'captured') as captured_count,
        count(*) filter (where payment_status = 'captured' and attempt_number > 1) as captured_retry_count,
        count(*) filter (where payment_status = 'refunded') as paid_back_count,
        sum(captured_amount)::numeric(18, 4) as captured_amount,
        sum(failed_amount)::numeric(18, 4) as failed_amount,
        sum(paid_back_amount)::numeric(18, 4) as paid_back_amount
    from payments
    group by source_system, paid_date, payment_method

)

select * from summed
