-- Shares are rounded to 10 places each.

select
    source_system,
    attribution_model,
    month,
    sum(order_share) as order_share,
    sum(order_amount_share) as order_amount_share
from {{ ref('channel_attribution') }}
group by source_system, attribution_model, month
having
    abs(sum(order_share) - 1) > 0.0000000001 * count(*)
    or abs(sum(order_amount_share) - 1) > 0.0000000001 * count(*)
    or min(order_share) < 0
    or min(order_amount_share) < 0
