with

windows as (

    select
        *,
        lag(retained_customer_count) over (
            partition by source_system, cohort_month
            order by window_months
        ) as shorter_window_count
    from {{ ref('cumulative_retention_analysis') }}

)

select
    source_system,
    cohort_month,
    window_months
from windows
where retained_customer_count < shorter_window_count
