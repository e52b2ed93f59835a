{{ config(unique_key=['source_system', 'product_id', 'return_reason']) }}

with

return_months as (

    select * from {{ ref('int_return_month') }}

),

product_months as (

    select * from {{ ref('int_product_month') }}

),

products as (

    select * from {{ ref('dim_products') }}
    where is_current

),

totals as (

    select
        source_system,
        product_id,
        return_reason,
        min(first_returned_date) as first_returned_date,
        max(last_returned_date) as last_returned_date,
        sum(return_count)::bigint as return_count,
        sum(uncounted_return_count)::bigint as uncounted_return_count,
        sum(returned_unit_count)::bigint as returned_unit_count,
        sum(refund_amount) as refund_amount,
        sum(returned_cost_amount) as returned_cost_amount,
        sum(unknown_cost_count) as unknown_cost_count,
        sum(days_since_order_total)::bigint as days_since_order_total,
        sum(known_delivery_count)::bigint as known_delivery_count,
        sum(days_to_return_total)::bigint as days_to_return_total
    from return_months
    group by source_system, product_id, return_reason

),

sold as (

    select
        source_system,
        product_id,
        sum(unit_count - cancelled_unit_count)::bigint as kept_unit_count
    from product_months
    group by source_system, product_id

),

of_products as (

    select
        *,
        sum(returned_unit_count) over (partition by source_system, product_id) as product_returned_unit_count
    from totals

),

final as (

    select
        -- ids
        of_products.source_system,
        of_products.product_id,

        -- text
        of_products.return_reason,
        products.product_name,
        coalesce(products.category, 'Uncategorised') as category,
        {{ source_currency('of_products.source_system') }} as currency,

        -- dates
        of_products.first_returned_date,
        of_products.last_returned_date,

        -- numbers
        of_products.return_count,
        of_products.uncounted_return_count,
        of_products.returned_unit_count,
        coalesce(sold.kept_unit_count, 0) as kept_unit_count,
        {{ ratio('of_products.returned_unit_count', 'sold.kept_unit_count') }} as return_rate,
        {{ ratio('of_products.returned_unit_count', 'of_products.product_returned_unit_count') }} as reason_share,
        of_products.refund_amount::numeric(18, 4) as refund_amount,
        (case when of_products.unknown_cost_count = 0 then of_products.returned_cost_amount end)::numeric(18, 4)
            as returned_cost_amount,
        (
            case
                when of_products.unknown_cost_count = 0
                    then of_products.refund_amount - of_products.returned_cost_amount
            end
        )::numeric(18, 4) as lost_margin_amount,
        of_products.days_since_order_total,
        of_products.known_delivery_count,
        of_products.days_to_return_total,
        round(of_products.days_since_order_total::numeric / nullif(of_products.return_count, 0), 4)::numeric(18, 4)
            as average_days_since_order,
        round(of_products.days_to_return_total::numeric / nullif(of_products.known_delivery_count, 0), 4)::numeric(18, 4)
            as average_days_to_return
    from of_products
    left join sold
        on of_products.source_system = sold.source_system
        and of_products.product_id = sold.product_id
    left join products
        on of_products.source_system = products.source_system
        and of_products.product_id = products.product_id

)

select * from final
