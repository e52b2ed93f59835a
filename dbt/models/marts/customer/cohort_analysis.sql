{{ config(unique_key=['source_system', 'cohort_month', 'months_since']) }}

with

cohort_months as (

    select * from {{ ref('int_cohort_month') }}

),

currencies as (

    select
        source_system,
        min(currency) as currency
    from {{ ref('int_sales_day') }}
    group by source_system

),

as_of as (

    select
        source_system,
        as_of_date,
        date_trunc('month', as_of_date::timestamp)::date as as_of_month
    from {{ ref('int_source_as_of') }}

),

-- What was cancelled before the first order that is known counts in the cohort's own month.

folded as (

    select
        source_system,
        cohort_month,
        greatest(month, cohort_month) as month,
        sum(active_customer_count)::bigint as active_customer_count,
        sum(order_count)::bigint as order_count,
        sum(
            {{ net_amount('gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount') }}
        ) as net_amount
    from cohort_months
    group by source_system, cohort_month, greatest(month, cohort_month)

),

-- Everybody is active in the month of the first order, so its count is the cohort's size.

cohorts as (

    select
        source_system,
        cohort_month,
        max(active_customer_count) filter (where month = cohort_month) as cohort_size,
        max(month) as last_month
    from folded
    group by source_system, cohort_month

),

-- Also the months in which nobody came.

months as (

    select
        cohorts.source_system,
        cohorts.cohort_month,
        cohorts.cohort_size,
        months.month::date as month,
        (months.month + interval '1 month')::date - 1 <= as_of.as_of_date as is_complete
    from cohorts
    inner join as_of on cohorts.source_system = as_of.source_system
    cross join lateral generate_series(
        cohorts.cohort_month::timestamp,
        greatest(cohorts.last_month, as_of.as_of_month)::timestamp,
        interval '1 month'
    ) as months (month)

),

measured as (

    select
        months.*,
        (
            12 * (extract(year from months.month) - extract(year from months.cohort_month))
            + extract(month from months.month) - extract(month from months.cohort_month)
        )::integer as months_since,
        coalesce(folded.active_customer_count, 0) as active_customer_count,
        coalesce(folded.order_count, 0) as order_count,
        coalesce(folded.net_amount, 0) as net_amount,
        sum(coalesce(folded.net_amount, 0)) over (
            partition by months.source_system, months.cohort_month
            order by months.month
        ) as cumulative_net_amount
    from months
    left join folded
        on months.source_system = folded.source_system
        and months.cohort_month = folded.cohort_month
        and months.month = folded.month

),

final as (

    select
        -- ids
        measured.source_system,
        measured.cohort_month,
        measured.months_since,

        -- text
        currencies.currency,

        -- dates
        measured.month,

        -- numbers
        measured.cohort_size,
        measured.active_customer_count,
        {{ ratio('measured.active_customer_count', 'measured.cohort_size') }} as retention_rate,
        measured.order_count,
        measured.net_amount::numeric(18, 4) as net_amount,
        measured.cumulative_net_amount::numeric(18, 4) as cumulative_net_amount,
        round(measured.cumulative_net_amount / measured.cohort_size, 4)::numeric(18, 4)
            as cumulative_net_per_customer,

        -- booleans
        measured.is_complete
    from measured
    left join currencies on measured.source_system = currencies.source_system

)

select * from final
