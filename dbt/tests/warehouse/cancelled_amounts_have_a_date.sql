-- What is taken back counts on a day.

select
    source_system,
    order_item_id
from {{ ref('fact_order_items') }}
where {{ is_day_touched('fact_order_items', 'order_date') }}
    and cancelled_date is null
    and (cancelled_amount <> 0 or cancelled_quantity <> 0)
