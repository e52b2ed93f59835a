-- The last period of each type has run up to everything, the last one of each year to that year; and what a period says of
-- the year before is what that period says of itself.

with

summary as (

    select * from {{ ref('sales_summary') }}

),

totals as (

    select
        source_system,
        sum(net_amount) as net_amount
    from summary
    where period_type = 'day'
    group by source_system

),

years as (

    select
        source_system,
        extract(year from period_start) as calendar_year,
        sum(net_amount) as net_amount,
        sum(order_count) as order_count,
        max(period_start) as last_day
    from summary
    where period_type = 'day'
    group by source_system, calendar_year

),

last_periods as (

    select distinct on (source_system, period_type)
        source_system,
        period_type,
        period_start,
        running_net_amount
    from summary
    order by source_system asc, period_type asc, period_start desc

)

select
    last_periods.source_system,
    last_periods.period_type,
    last_periods.period_start
from last_periods
inner join totals on last_periods.source_system = totals.source_system
where last_periods.running_net_amount <> totals.net_amount

union all

select
    summary.source_system,
    summary.period_type,
    summary.period_start
from summary
inner join years
    on summary.source_system = years.source_system
    and years.last_day between summary.period_start and summary.period_end
where (
    summary.period_type in ('day', 'month', 'quarter')
    and (summary.year_to_date_net_amount, summary.year_to_date_order_count)
    is distinct from (years.net_amount, years.order_count)
)

union all

select
    summary.source_system,
    summary.period_type,
    summary.period_start
from summary
inner join summary as year_ago
    on summary.source_system = year_ago.source_system
    and summary.period_type = year_ago.period_type
    and year_ago.period_start = case
        when summary.period_type in ('day', 'week') then summary.period_start - 364
        else (summary.period_start - interval '1 year')::date
    end
where (coalesce(summary.year_ago_net_amount, year_ago.net_amount), coalesce(summary.year_ago_order_count, year_ago.order_count))
    is distinct from (year_ago.net_amount, year_ago.order_count)
