-- Every order that sold a product is a basket or counted as a large one, on its day.

with

basket_days as (

    select
        *,
        order_count + large_order_count as basket_count
    from {{ ref('int_basket_day') }}
    where {{ is_day_touched('fact_order_items', 'day') }}

),

order_days as (

    select
        source_system,
        order_date as day,
        count(distinct order_id) as basket_count
    from {{ ref('fact_order_items') }}
    where line_type = 'sale'
        and product_id is not null
        and {{ is_day_touched('fact_order_items', 'order_date') }}
    group by source_system, order_date

)

select
    source_system,
    day,
    basket_days.basket_count,
    order_days.basket_count as order_count
from order_days
full join basket_days using (source_system, day)
where basket_days.basket_count is distinct from order_days.basket_count
