-- What a pair has in common does not depend on which product is named first; each product's orders are its own.

with

pairs as (

    select * from {{ ref('product_affinity') }}

)

select
    pairs.source_system,
    pairs.product_id,
    pairs.partner_id
from pairs
left join pairs as turned
    on pairs.source_system = turned.source_system
    and pairs.product_id = turned.partner_id
    and pairs.partner_id = turned.product_id
where turned.product_id is null
    or (pairs.pair_order_count, pairs.support, pairs.lift, pairs.z_score, pairs.product_order_count)
    is distinct from (turned.pair_order_count, turned.support, turned.lift, turned.z_score, turned.partner_order_count)
