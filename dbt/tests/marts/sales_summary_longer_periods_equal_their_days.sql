-- No row is multiplied or lost: weeks, months and quarters are the sums of their days.

with

summary as (

    select * from {{ ref('sales_summary') }}

),

days as (

    select
        summary.*,
        period_types.period_type as longer_type,
        date_trunc(period_types.period_type, summary.period_start::timestamp)::date as longer_start
    from summary
    cross join (values ('week'), ('month'), ('quarter')) as period_types (period_type)
    where summary.period_type = 'day'

),

sums as (

    select
        source_system,
        longer_type,
        longer_start,
        sum(order_count) as order_count,
        sum(guest_order_count) as guest_order_count,
        sum(unit_count) as unit_count,
        sum(net_amount) as net_amount,
        sum(fee_amount) as fee_amount,
        sum(adjustment_amount) as adjustment_amount,
        case when count(*) = count(margin_amount) then sum(margin_amount) end as margin_amount,
        max(customer_count) as most_customers_of_a_day,
        sum(customer_count) as customer_days
    from days
    group by source_system, longer_type, longer_start

),

longer as (

    select * from summary
    where period_type <> 'day'

)

select
    coalesce(longer.source_system, sums.source_system) as source_system,
    coalesce(longer.period_type, sums.longer_type) as period_type,
    coalesce(longer.period_start, sums.longer_start) as period_start
from longer
full join sums
    on longer.source_system = sums.source_system
    and longer.period_type = sums.longer_type
    and longer.period_start = sums.longer_start
where
    (
        longer.order_count, longer.guest_order_count, longer.unit_count, longer.net_amount, longer.fee_amount,
        longer.adjustment_amount, longer.margin_amount
    ) is distinct from (
        sums.order_count, sums.guest_order_count, sums.unit_count, sums.net_amount, sums.fee_amount,
        sums.adjustment_amount, sums.margin_amount
    )
    or longer.customer_count not between sums.most_customers_of_a_day and sums.customer_days
