select sum(max_points) as all_points
from {{ ref('health_parts') }}
having sum(max_points) <> 100
    or count(*) filter (where best_value = worst_value) > 0
