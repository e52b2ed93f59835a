select sum(weight) as weight
from {{ ref('product_health_parts') }}
having sum(weight) <> 100 or bool_or(zero_at = full_at)
