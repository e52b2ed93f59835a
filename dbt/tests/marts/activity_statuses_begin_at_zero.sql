-- A status ends where the next begins, so all of them cover every number of days if the first begins at 0.

select min(min_recency_days) as min_recency_days
from {{ ref('activity_statuses') }}
having min(min_recency_days) <> 0
