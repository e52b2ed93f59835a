-- Each day is one weekday and in one month; and an average member has the index 1.

with

seasons as (

    select
        source_system,
        dimension,
        sum(net_amount) as net_amount,
        sum(gross_amount) as gross_amount,
        sum(order_count) as order_count,
        avg(ordered_amount_index) as mean_index
    from {{ ref('seasonal_trends') }}
    where dimension in ('weekday', 'month')
    group by source_system, dimension

),

sales as (

    select
        source_system,
        dimension,
        sum(net_amount) as net_amount,
        sum(gross_amount) as gross_amount,
        sum(order_count) as order_count
    from {{ ref('sales_summary') }}
    cross join (values ('weekday'), ('month')) as dimensions (dimension)
    where period_type = 'day'
    group by source_system, dimension

)

select
    source_system,
    dimension,
    seasons.net_amount,
    sales.net_amount as all_net_amount,
    seasons.mean_index
from sales
left join seasons using (source_system, dimension)
where (seasons.net_amount, seasons.gross_amount, seasons.order_count)
    is distinct from (sales.net_amount, sales.gross_amount, sales.order_count)
    or abs(seasons.mean_index - 1) > 0.000000001
