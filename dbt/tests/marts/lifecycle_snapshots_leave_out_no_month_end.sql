-- Each touched month-end has everybody who had ordered by then, once (its key is unique). And none is missing altogether: the
-- shop's first customer, found by the index, has all of them.

with

customers as (

    select
        source_system,
        customer_id,
        (date_trunc('month', first_order_date::timestamp) + interval '1 month')::date - 1 as first_month_end,
        date_trunc('month', (as_of_date + 1)::timestamp)::date - 1 as last_month_end
    from {{ ref('customer_summary') }}
    where order_count > 0

),

due_customers as (

    select * from customers
    where first_month_end <= last_month_end

),

month_ends as (

    select
        source_system,
        month_start::date - 1 as month_end
    from (
        select
            source_system,
            generate_series(min(first_month_end) + 1, max(last_month_end) + 1, interval '1 month') as month_start
        from due_customers
        group by source_system
    ) as months

),

new_customers as (

    select
        source_system,
        first_month_end as month_end,
        count(*) as customer_count
    from due_customers
    group by source_system, first_month_end

),

expected as (

    select
        source_system,
        month_end,
        sum(coalesce(new_customers.customer_count, 0)) over (partition by source_system order by month_end) as customer_count
    from month_ends
    left join new_customers using (source_system, month_end)

),

snapshots as (

    select
        lifecycle.source_system,
        lifecycle.month_end,
        count(*) as row_count,
        count(due_customers.customer_id) as customer_count
    from {{ ref('customer_lifecycle_snapshot') }} as lifecycle
    left join due_customers
        on lifecycle.source_system = due_customers.source_system
        and lifecycle.customer_id = due_customers.customer_id
        and lifecycle.month_end between due_customers.first_month_end and due_customers.last_month_end
    where {{ is_day_touched('customer_lifecycle_snapshot', 'month_end') }}
    group by lifecycle.source_system, lifecycle.month_end

),

first_customers as (

    select distinct on (source_system)
        source_system,
        customer_id
    from due_customers
    order by source_system asc, first_month_end asc, customer_id collate "C" asc

),

missing as (

    select
        month_ends.source_system,
        month_ends.month_end
    from month_ends
    inner join first_customers on month_ends.source_system = first_customers.source_system
    left join {{ ref('customer_lifecycle_snapshot') }} as lifecycle
        on first_customers.source_system = lifecycle.source_system
        and first_customers.customer_id = lifecycle.customer_id
        and month_ends.month_end = lifecycle.month_end
    where lifecycle.customer_id is null

)

select
    source_system,
    month_end,
    snapshots.row_count,
    snapshots.customer_count,
    expected.customer_count as expected_count
from snapshots
left join expected using (source_system, month_end)
where snapshots.row_count is distinct from expected.customer_count
    or snapshots.customer_count is distinct from expected.customer_count
union all
select
    source_system,
    month_end,
    0,
    0,
    null
from missing
