-- A class ends where the next begins, so all of them cover every share if the first begins at 0.

select min(min_share_before) as min_share_before
from {{ ref('abc_classes') }}
having min(min_share_before) <> 0
