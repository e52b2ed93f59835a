-- The facts' days are those of the state, and the state's sum is the mart's.

with

payments as (

    select
        source_system,
        paid_date as day,
        payment_method,
        count(*) as payment_count,
        count(*) filter (where payment_status = 'failed') as failed_attempt_count,
        sum(amount) filter (where payment_status = 'captured') as captured_amount,
        sum(amount) filter (where payment_status = 'refunded') as paid_back_amount
    from {{ ref('fact_payments') }}
    where {{ is_day_touched('fact_payments', 'paid_date') }}
    group by source_system, paid_date, payment_method

),

payment_days as not materialized (

    select * from {{ ref('int_payment_day') }}

),

touched_payment_days as (

    select * from payment_days
    where {{ is_day_touched('fact_payments', 'day') }}

),

methods as (

    select * from {{ ref('payment_method_analysis') }}

),

state_totals as (

    select
        source_system,
        sum(attempt_count) as attempt_count,
        sum(captured_amount) as captured_amount,
        sum(paid_back_amount) as paid_back_amount
    from payment_days
    group by source_system

),

mart_totals as (

    select
        source_system,
        sum(attempt_count) as attempt_count,
        sum(captured_amount) as captured_amount,
        sum(paid_back_amount) as paid_back_amount
    from methods
    group by source_system

)

select
    source_system,
    day,
    payment_method
from payments
full join touched_payment_days as state using (source_system, day, payment_method)
where (
    payments.payment_count, payments.failed_attempt_count,
    coalesce(payments.captured_amount, 0), coalesce(payments.paid_back_amount, 0)
) is distinct from (
    state.attempt_count + state.paid_back_count, state.failed_attempt_count, state.captured_amount, state.paid_back_amount
)

union all

select
    source_system,
    null as day,
    null as payment_method
from state_totals
full join mart_totals using (source_system)
where (state_totals.attempt_count, state_totals.captured_amount, state_totals.paid_back_amount)
    is distinct from (mart_totals.attempt_count, mart_totals.captured_amount, mart_totals.paid_back_amount)
