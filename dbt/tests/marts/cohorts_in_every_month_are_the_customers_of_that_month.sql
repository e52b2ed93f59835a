with

cohort_months as (

    select
        source_system,
        month,
        sum(active_customer_count) as customer_count
    from {{ ref('cohort_analysis') }}
    group by source_system, month

),

months as (

    select
        source_system,
        period_start as month,
        customer_count
    from {{ ref('sales_summary') }}
    where period_type = 'month'

)

select
    source_system,
    month,
    cohort_months.customer_count,
    months.customer_count as expected_customer_count
from cohort_months
full join months using (source_system, month)
where coalesce(cohort_months.customer_count, 0) <> coalesce(months.customer_count, 0)
