{{ config(unique_key=['source_system', 'product_id']) }}

{#- Length of the recent and of the previous period, and what counts as a change between them. -#}
{%- set trend_days = 30 -%}
{%- set trend_threshold = 0.10 %}

with

products as (

    select * from {{ ref('dim_products') }}
    where is_current

),

product_months as (

    select * from {{ ref('int_product_month') }}

),

product_days as (

    select * from {{ ref('int_product_day') }}

),

sales_days as (

    select * from {{ ref('int_sales_day') }}

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

abc_classes as (

    select
        *,
        lead(min_share_before) over (order by min_share_before) as next_min_share_before
    from {{ ref('abc_classes') }}

),

currencies as (

    select
        source_system,
        min(currency) as currency
    from sales_days
    group by source_system

),

totals as (

    select
        source_system,
        product_id,
        min(first_sold_date) as first_sold_date,
        max(last_sold_date) as last_sold_date,
        sum(order_count)::bigint as order_count,
        sum(unit_count)::bigint as unit_count,
        sum(cancelled_unit_count)::bigint as cancelled_unit_count,
        sum(returned_unit_count)::bigint as returned_unit_count,
        sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount,
        sum(cancelled_amount) as cancelled_amount,
        sum(refund_amount) as refund_amount,
        sum({{ kept_cost('cost_amount', 'cancelled_cost_amount', 'returned_cost_amount') }}) as kept_cost_amount,
        sum(unknown_cost_count) as unknown_cost_count
    from product_months
    group by source_system, product_id

),

-- The last 30 days up to the as-of date against the 30 days before them.

recent as (

    select
        product_days.source_system,
        product_days.product_id,
        coalesce(sum(
            {{ net_amount('gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount') }}
        ) filter (where product_days.day > as_of.as_of_date - {{ trend_days }}), 0) as recent_net_amount,
        coalesce(sum(
            {{ net_amount('gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount') }}
        ) filter (where product_days.day <= as_of.as_of_date - {{ trend_days }}), 0) as previous_net_amount
    from as_of
    inner join product_days
        on as_of.source_system = product_days.source_system
        and product_days.day > as_of.as_of_date - 2 * {{ trend_days }}
        and product_days.day <= as_of.as_of_date
    group by product_days.source_system, product_days.product_id

),

measured as (

    select
        products.*,
        currencies.currency,
        as_of.as_of_date,
        totals.first_sold_date,
        totals.last_sold_date,
        coalesce(totals.order_count, 0) as order_count,
        coalesce(totals.unit_count, 0) as unit_count,
        coalesce(totals.cancelled_unit_count, 0) as cancelled_unit_count,
        coalesce(totals.returned_unit_count, 0) as returned_unit_count,
        coalesce(totals.gross_amount, 0) as gross_amount,
        coalesce(totals.discount_amount, 0) as discount_amount,
        coalesce(totals.cancelled_amount, 0) as cancelled_amount,
        coalesce(totals.refund_amount, 0) as refund_amount,
        case when coalesce(totals.unknown_cost_count, 0) = 0 then coalesce(totals.kept_cost_amount, 0) end
            as kept_cost_amount,
        coalesce(
            {{ net_amount(
                'totals.gross_amount', 'totals.discount_amount', 'totals.cancelled_amount', 'totals.refund_amount'
            ) }}, 0
        ) as net_amount,
        coalesce(recent.recent_net_amount, 0) as recent_net_amount,
        coalesce(recent.previous_net_amount, 0) as previous_net_amount
    from products
    left join totals
        on products.source_system = totals.source_system
        and products.product_id = totals.product_id
    left join recent
        on products.source_system = recent.source_system
        and products.product_id = recent.product_id
    left join currencies on products.source_system = currencies.source_system
    left join as_of on products.source_system = as_of.source_system

),

-- Shares are taken over products with positive net. Products of equal net stand in one place: the frame by
-- range takes them all in, so nothing depends on the order of rows.

ranked as (

    select
        source_system,
        product_id,
        greatest(net_amount, 0) / nullif(sum(greatest(net_amount, 0)) over shop, 0) as net_share,
        sum(greatest(net_amount, 0)) over by_net / nullif(sum(greatest(net_amount, 0)) over shop, 0)
            as cumulative_share,
        (sum(greatest(net_amount, 0)) over by_net - greatest(net_amount, 0) * count(*) over equals)
        / nullif(sum(greatest(net_amount, 0)) over shop, 0) as share_before
    from measured
    window
        shop as (partition by source_system),
        by_net as (partition by source_system order by greatest(net_amount, 0) desc),
        equals as (partition by source_system, greatest(net_amount, 0))

),

final as (

    select
        -- ids
        measured.source_system,
        measured.product_id,
        measured.product_key,

        -- text
        measured.product_name,
        measured.category,
        measured.subcategory,
        measured.brand,
        measured.currency,
        case
            when measured.net_amount <= 0 then 'C'
            else abc_classes.abc_class
        end as abc_class,
        case
            when measured.recent_net_amount = 0 and measured.previous_net_amount = 0 then 'inactive'
            when measured.first_sold_date > measured.as_of_date - {{ trend_days }} then 'new'
            when measured.recent_net_amount > measured.previous_net_amount
                + abs(measured.previous_net_amount) * {{ trend_threshold }} then 'rising'
            when measured.recent_net_amount < measured.previous_net_amount
                - abs(measured.previous_net_amount) * {{ trend_threshold }} then 'falling'
            else 'stable'
        end as trend,

        -- dates
        measured.first_sold_date,
        measured.last_sold_date,
        measured.as_of_date,

        -- numbers
        measured.price as current_price,
        measured.cost as current_cost,
        measured.order_count,
        measured.unit_count,
        measured.cancelled_unit_count,
        measured.returned_unit_count,
        measured.gross_amount::numeric(18, 4) as gross_amount,
        measured.discount_amount::numeric(18, 4) as discount_amount,
        measured.cancelled_amount::numeric(18, 4) as cancelled_amount,
        measured.refund_amount::numeric(18, 4) as refund_amount,
        measured.net_amount::numeric(18, 4) as net_amount,
        measured.kept_cost_amount::numeric(18, 4) as cost_amount,
        (measured.net_amount - measured.kept_cost_amount)::numeric(18, 4) as margin_amount,
        round((measured.net_amount - measured.kept_cost_amount) / nullif(measured.net_amount, 0), 6)::numeric(18, 6)
            as margin_rate,
        round(measured.gross_amount / nullif(measured.unit_count, 0), 4)::numeric(18, 4) as average_price,
        round(ranked.net_share, 6)::numeric(18, 6) as net_share,
        round(ranked.cumulative_share, 6)::numeric(18, 6) as cumulative_net_share,
        measured.recent_net_amount::numeric(18, 4) as recent_net_amount,
        measured.previous_net_amount::numeric(18, 4) as previous_net_amount,
        case
            when measured.previous_net_amount > 0
                then round(
                    (measured.recent_net_amount - measured.previous_net_amount) / measured.previous_net_amount, 6
                )
        end::numeric(18, 6) as net_change_ratio,

        -- booleans
        measured.is_active,
        measured.is_inferred
    from measured
    inner join ranked
        on measured.source_system = ranked.source_system
        and measured.product_id = ranked.product_id
    left join abc_classes
        on ranked.share_before >= abc_classes.min_share_before
        and (ranked.share_before < abc_classes.next_min_share_before or abc_classes.next_min_share_before is null)

)

select * from final
