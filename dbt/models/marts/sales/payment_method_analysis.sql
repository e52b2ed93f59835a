{{ config(
    unique_key=['source_system', 'month', 'payment_method'],
    meta={'needs': ['payments']},
) }}

{%- set counts = [
    'attempt_count', 'first_attempt_count', 'failed_attempt_count', 'failed_first_attempt_count',
    'captured_count', 'captured_retry_count', 'paid_back_count',
] -%}
{%- set amounts = ['captured_amount', 'failed_amount', 'paid_back_amount'] %}

with

payment_days as (

    select * from {{ ref('int_payment_day') }}

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

summed as (

    select
        source_system,
        date_trunc('month', day::timestamp)::date as month,
        payment_method,
        min(currency) as currency,
        {{ sum_measures(counts + amounts) }}
    from payment_days
    group by 1, 2, 3

),

totalled as (

    select
        *,
        attempt_count - first_attempt_count as retry_count,
        sum(attempt_count) over by_month as month_attempt_count,
        sum(captured_amount) over by_month as month_captured_amount
    from summed
    window by_month as (partition by source_system, month)

),

final as (

    select
        -- ids
        totalled.source_system,
        totalled.month,
        totalled.payment_method,

        -- text
        totalled.currency,

        -- numbers
        totalled.attempt_count,
        totalled.first_attempt_count,
        totalled.retry_count,
        totalled.failed_attempt_count,
        totalled.failed_first_attempt_count,
        totalled.captured_count,
        totalled.captured_retry_count,
        totalled.paid_back_count,
        totalled.captured_amount,
        totalled.failed_amount,
        totalled.paid_back_amount,
        round(totalled.captured_amount / nullif(totalled.captured_count, 0), 4)::numeric(18, 4)
            as average_captured_amount,
        {{ ratio('totalled.attempt_count', 'totalled.month_attempt_count') }} as attempt_share,
        {{ ratio('totalled.captured_amount', 'totalled.month_captured_amount') }} as captured_share,
        {{ ratio('totalled.failed_attempt_count', 'totalled.attempt_count') }} as failure_rate,
        {{ ratio('totalled.failed_first_attempt_count', 'totalled.first_attempt_count') }}
            as first_attempt_failure_rate,
        {{ ratio('totalled.captured_retry_count', 'totalled.retry_count') }} as retry_success_rate,
        {{ ratio('totalled.paid_back_amount', 'totalled.captured_amount') }} as paid_back_rate,

        -- booleans
        (totalled.month + interval '1 month')::date - 1 <= as_of.as_of_date as is_complete
    from totalled
    left join as_of on totalled.source_system = as_of.source_system

)

select * from final
