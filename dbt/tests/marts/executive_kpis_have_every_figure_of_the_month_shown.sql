-- Every shop has a row for each figure of the catalogue, and its revenue is that of sales_summary.

with

kpis as (

    select * from {{ ref('executive_kpis') }}

),

expected as (

    select distinct
        sales.source_system,
        catalogue.kpi
    from {{ ref('sales_summary') }} as sales
    cross join {{ ref('kpi_catalogue') }} as catalogue

),

revenue as (

    select
        source_system,
        'net_revenue' as kpi,
        period_start,
        net_amount as value
    from {{ ref('sales_summary') }}
    where period_type = 'month'

    union all

    select
        source_system,
        'order_count',
        period_start,
        order_count
    from {{ ref('sales_summary') }}
    where period_type = 'month'

)

select
    coalesce(expected.source_system, kpis.source_system) as source_system,
    coalesce(expected.kpi, kpis.kpi) as kpi
from expected
full join kpis
    on expected.source_system = kpis.source_system
    and expected.kpi = kpis.kpi
left join revenue
    on kpis.source_system = revenue.source_system
    and kpis.kpi = revenue.kpi
    and kpis.period_start = revenue.period_start
where kpis.kpi_rank is null
    or expected.kpi is null
    or (kpis.kpi in ('net_revenue', 'order_count') and kpis.value <> coalesce(revenue.value, 0))
