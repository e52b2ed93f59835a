-- Units, refunds and rates of a product's reasons add up to those of the product, to the cent.

with

reasons as (

    select
        source_system,
        product_id,
        sum(returned_unit_count) as returned_unit_count,
        sum(refund_amount) as refund_amount,
        sum(return_rate) as return_rate,
        count(*) as reason_count
    from {{ ref('return_analysis') }}
    group by source_system, product_id

),

products as (

    select * from {{ ref('product_performance') }}

)

select
    source_system,
    product_id,
    products.returned_unit_count,
    reasons.returned_unit_count as reasons_unit_count,
    products.refund_amount,
    reasons.refund_amount as reasons_refund_amount
from products
full join reasons using (source_system, product_id)
where coalesce(products.returned_unit_count, 0) <> coalesce(reasons.returned_unit_count, 0)
    or coalesce(products.refund_amount, 0) <> coalesce(reasons.refund_amount, 0)
    or abs(products.return_rate - reasons.return_rate) > 0.000000001 * reasons.reason_count
