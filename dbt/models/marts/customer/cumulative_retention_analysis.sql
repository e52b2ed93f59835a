{{ config(unique_key=['source_system', 'cohort_month', 'window_months']) }}

with

customers as (

    select
        *,
        date_trunc('month', first_order_date::timestamp)::date as cohort_month
    from {{ ref('int_customer_totals') }}
    where first_order_date is not null

),

retention_windows as (

    select * from {{ ref('retention_windows') }}

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

-- A window is each customer's own, from the first order on; it is complete for a cohort when it is for the
-- customer who came last.

summed as (

    select
        customers.source_system,
        customers.cohort_month,
        retention_windows.window_months,
        retention_windows.min_cohort_size,
        (
            customers.cohort_month + make_interval(months => retention_windows.window_months + 1)
        )::date - 1 as complete_date,
        count(*) as cohort_size,
        count(*) filter (
            where customers.repeat_order_date
            < customers.first_order_date + make_interval(months => retention_windows.window_months)
        ) as retained_customer_count
    from customers
    cross join retention_windows
    group by 1, 2, 3, 4, 5

),

final as (

    select
        -- ids
        summed.source_system,
        summed.cohort_month,
        summed.window_months,

        -- dates
        summed.complete_date,

        -- numbers
        summed.cohort_size,
        summed.retained_customer_count,
        {{ ratio('summed.retained_customer_count', 'summed.cohort_size') }} as cumulative_retention_rate,

        -- booleans
        summed.cohort_size < summed.min_cohort_size as is_small_cohort
    from summed
    inner join as_of
        on summed.source_system = as_of.source_system
        and summed.complete_date <= as_of.as_of_date

)

select * from final
