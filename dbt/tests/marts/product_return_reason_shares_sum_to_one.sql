select
    source_system,
    product_id,
    sum(reason_share) as reason_share
from {{ ref('return_analysis') }}
group by source_system, product_id
having abs(sum(reason_share) - 1) > 0.000000001 * count(*)
