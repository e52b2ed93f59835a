-- The new price of a change is the old one of the next, and windows of neighbouring changes share no day but one's after
-- and the other's before.

with

changes as (

    select
        *,
        lead(old_price) over by_date as next_old_price,
        lead(effective_date) over by_date as next_effective_date,
        lag(after_start_date) over by_date as previous_after_start_date
    from {{ ref('price_history_effects') }}
    window by_date as (partition by source_system, product_id order by effective_date)

)

select
    source_system,
    product_id,
    effective_date
from changes
where new_price <> next_old_price
    or after_end_date >= next_effective_date
    or before_start_date < previous_after_start_date
