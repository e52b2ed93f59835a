-- From the month of the first order to the last complete month, each month-end once.

with

snapshots as (

    select
        source_system,
        customer_id,
        count(*) as month_count,
        min(month_end) as first_month_end,
        max(month_end) as last_month_end
    from {{ ref('customer_lifecycle_snapshot') }}
    group by source_system, customer_id

),

customers as (

    select
        source_system,
        customer_id,
        (date_trunc('month', first_order_date::timestamp) + interval '1 month')::date - 1 as first_month_end,
        date_trunc('month', (as_of_date + 1)::timestamp)::date - 1 as last_month_end
    from {{ ref('customer_summary') }}
    where order_count > 0

),

expected as (

    select
        *,
        (
            12 * (extract(year from last_month_end) - extract(year from first_month_end))
            + extract(month from last_month_end) - extract(month from first_month_end) + 1
        ) as month_count
    from customers
    where first_month_end <= last_month_end

)

select
    source_system,
    customer_id
from expected
full join snapshots using (source_system, customer_id)
where (expected.month_count, expected.first_month_end, expected.last_month_end)
    is distinct from (snapshots.month_count, snapshots.first_month_end, snapshots.last_month_end)
