-- To the cent, month by month: every order has one channel under each model, also one without any visit.

with

attributed as (

    select
        source_system,
        attribution_model,
        month,
        sum(order_count) as order_count,
        sum(cancelled_order_count) as cancelled_order_count,
        sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount,
        sum(cancelled_amount) as cancelled_amount,
        sum(refund_amount) as refund_amount,
        sum(net_amount) as net_amount,
        sum(order_amount) as order_amount
    from {{ ref('channel_attribution') }}
    group by source_system, attribution_model, month

),

sales as (

    select
        sales_summary.*,
        models.attribution_model
    from {{ ref('sales_summary') }} as sales_summary
    cross join (values ('first_touch'), ('last_touch')) as models (attribution_model)
    where sales_summary.period_type = 'month'

)

select
    coalesce(sales.source_system, attributed.source_system) as source_system,
    coalesce(sales.attribution_model, attributed.attribution_model) as attribution_model,
    coalesce(sales.period_start, attributed.month) as month,
    attributed.net_amount,
    sales.net_amount as all_net_amount
from sales
full join attributed
    on sales.source_system = attributed.source_system
    and sales.attribution_model = attributed.attribution_model
    and sales.period_start = attributed.month
where
    (
        attributed.order_count, attributed.cancelled_order_count, attributed.gross_amount, attributed.discount_amount,
        attributed.cancelled_amount, attributed.refund_amount, attributed.net_amount, attributed.order_amount
    ) is distinct from (
        sales.order_count, sales.cancelled_order_count, sales.gross_amount, sales.discount_amount,
        sales.cancelled_amount, sales.refund_amount, sales.net_amount, sales.gross_amount - sales.discount_amount
    )
