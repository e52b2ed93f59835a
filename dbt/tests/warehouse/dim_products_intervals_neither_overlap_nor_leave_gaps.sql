-- The versions of a product cover all time, each moment once.

with intervals as (
    select
        source_system,
        product_id,
        valid_from,
        valid_to,
        coalesce(
            lag(valid_to) over (partition by source_system, product_id order by valid_from),
            '-infinity'
        ) as previous_valid_to,
        lead(valid_from) over (partition by source_system, product_id order by valid_from) as next_valid_from
    from {{ ref('dim_products') }}
)

select *
from intervals
where valid_from <> previous_valid_to
    or valid_to <= valid_from
    or (next_valid_from is null and valid_to <> 'infinity')
