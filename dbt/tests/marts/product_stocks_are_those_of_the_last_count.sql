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

-- found by the index on the day, whatever the history

last_days as (

    select stock_days.*
    from as_of
    inner join stock_days
        on as_of.source_system = stock_days.source_system
        and as_of.as_of_date = stock_days.snapshot_date

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
