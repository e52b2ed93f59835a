-- Shares are rounded to 10 places each.

select
    source_system,
    sum(net_share) as net_share
from {{ ref('product_performance') }}
group by source_system
having abs(sum(net_share) - 1) > 0.0000000001 * count(*)
