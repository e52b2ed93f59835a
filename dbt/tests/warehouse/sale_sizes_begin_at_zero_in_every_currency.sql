-- A size ends where the next begins, so all of them cover every amount if the first begins at 0.

select
    currency,
    min(min_amount) as min_amount
from {{ ref('sale_sizes') }}
group by currency
having min(min_amount) <> 0
