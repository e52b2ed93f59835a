-- Conservation: the latest version of each return whose item is there is in the fact, once, with its refund. A version on
-- another day may have replaced the one that is read.

with latest as (
    select distinct on (source_system, return_id)
        source_system,
        return_id,
        order_item_id,
        quantity,
        refund_amount,
        returned_date
    from {{ ref('stg_returns') }}
    where {{ is_day_touched('fact_returns', 'returned_date') }}
    order by source_system, return_id, {{ latest_version_first() }}
)

select
    latest.source_system,
    latest.return_id
from latest
inner join {{ ref('fact_order_items') }} as items
    on latest.source_system = items.source_system
    and latest.order_item_id = items.order_item_id
left join {{ ref('fact_returns') }} as returns
    on latest.source_system = returns.source_system
    and latest.return_id = returns.return_id
where returns.return_id is null
    or (
        latest.returned_date = returns.returned_date
        and (latest.order_item_id, latest.quantity, latest.refund_amount)
        <> (returns.order_item_id, returns.quantity, returns.delivered_refund_amount)
    )
