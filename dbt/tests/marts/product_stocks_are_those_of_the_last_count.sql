-- The stock a product is shown with is that of its last count, and every product with a count has a row.

with

turnover as (

    select * from {{ ref('inventory_turnover') }}

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

stock_days as (

    select * from {{ ref('fact_inventory_daily') }}

),

-- Lateral, and kept apart by its order: each shop's date is known when its day is read, and its history is not read.

last_days as (

    select of_day.*
    from as_of
    cross join lateral (
        select * from stock_days
        where stock_days.source_system = as_of.source_system
            and stock_days.snapshot_date = as_of.as_of_date
        order by stock_days.product_id
    ) as of_day

)

select
    last_days.source_system,
    last_days.product_id,
    last_days.on_hand_quantity,
    turnover.on_hand_quantity as shown_quantity
from last_days
left join turnover
    on last_days.source_system = turnover.source_system
    and last_days.product_id = turnover.product_id
where (last_days.snapshot_date, last_days.on_hand_quantity, last_days.stock_cost_amount)
    is distinct from (turnover.snapshot_date, turnover.on_hand_quantity, turnover.stock_cost_amount)
