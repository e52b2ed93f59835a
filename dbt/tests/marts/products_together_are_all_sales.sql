with

products as (

    select
        source_system,
        sum(net_amount) as net_amount,
        sum(gross_amount) as gross_amount,
        sum(unit_count) as unit_count
    from {{ ref('product_performance') }}
    group by source_system

),

sales as (

    select
        source_system,
        sum(net_amount) as net_amount,
        sum(gross_amount) as gross_amount,
        sum(unit_count) as unit_count
    from {{ ref('sales_summary') }}
    where period_type = 'day'
        -- the lines of a shop without products name none
        and source_system not in (
            select source_system from {{ ref('unfed_tables') }}
            where table_name = 'product_performance'
        )
    group by source_system

)

select
    source_system,
    products.net_amount,
    sales.net_amount as all_net_amount
from sales
left join products using (source_system)
where (coalesce(products.net_amount, 0), coalesce(products.gross_amount, 0), coalesce(products.unit_count, 0))
    is distinct from (sales.net_amount, sales.gross_amount, sales.unit_count)
