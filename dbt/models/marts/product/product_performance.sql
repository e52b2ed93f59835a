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

health_parts as (

    select * from {{ ref('product_health_parts') }}

),

recommendations as (

    select * from {{ ref('product_recommendations') }}

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
        as_of.source_system,
        last_days.*
    from as_of
    -- lateral: each shop's dates are known when its days are read, by the index on the day
    cross join lateral (
        select
            product_days.product_id,
            coalesce(sum(
                {{ net_amount('gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount') }}
            ) filter (where product_days.day > as_of.as_of_date - {{ trend_days }}), 0) as recent_net_amount,
            coalesce(sum(
                {{ net_amount('gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount') }}
            ) filter (where product_days.day <= as_of.as_of_date - {{ trend_days }}), 0) as previous_net_amount
        from product_days
        where product_days.source_system = as_of.source_system
            and product_days.day > as_of.as_of_date - 2 * {{ trend_days }}
            and product_days.day <= as_of.as_of_date
        group by product_days.product_id
    ) as last_days

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

classified as (

    select
        measured.*,
        measured.unit_count - measured.cancelled_unit_count as kept_unit_count,
        measured.net_amount - measured.kept_cost_amount as margin_amount,
        ranked.net_share,
        ranked.cumulative_share,
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
        count(*) over (partition by measured.source_system) as product_count
    from measured
    inner join ranked
        on measured.source_system = ranked.source_system
        and measured.product_id = ranked.product_id
    left join abc_classes
        on ranked.share_before >= abc_classes.min_share_before
        and (ranked.share_before < abc_classes.next_min_share_before or abc_classes.next_min_share_before is null)

),

rated as (

    select
        *,
        {{ ratio('margin_amount', 'net_amount') }} as margin_rate,
        {{ ratio('returned_unit_count', 'kept_unit_count') }} as return_rate,
        case
            when previous_net_amount > 0
                then {{ ratio('recent_net_amount - previous_net_amount', 'previous_net_amount') }}
        end::numeric(20, 10) as net_change_ratio
    from classified

),

-- What the parts of the health score are measured by; null where a part is not known, which then has no weight.

health_measures as (

    select
        source_system,
        product_id,
        'sales' as part,
        net_share * product_count as measure
    from rated
    union all
    select
        source_system,
        product_id,
        'margin',
        case when net_amount > 0 then margin_rate end
    from rated
    union all
    select
        source_system,
        product_id,
        'trend',
        case
            when trend = 'new' then null
            when trend = 'inactive' then -1
            when previous_net_amount > 0 then net_change_ratio
            else sign(recent_net_amount - previous_net_amount)
        end
    from rated
    union all
    select
        source_system,
        product_id,
        'returns',
        return_rate
    from rated

),

health as (

    select
        health_measures.source_system,
        health_measures.product_id,
        round(
            100 * sum(health_parts.weight * {{ share_of_the_way(
                'health_measures.measure', 'health_parts.zero_at', 'health_parts.full_at'
            ) }}) / sum(health_parts.weight), 6
        ) as health_score
    from health_measures
    inner join health_parts on health_measures.part = health_parts.part
    where health_measures.measure is not null
    group by health_measures.source_system, health_measures.product_id

),

-- The first recommendation of which every condition holds.

recommended as (

    select distinct on (rated.source_system, rated.product_id)
        rated.*,
        health.health_score,
        recommendations.recommendation,
        recommendations.suggested_action
    from rated
    left join health
        on rated.source_system = health.source_system
        and rated.product_id = health.product_id
    inner join recommendations
        on (recommendations.abc_classes is null or rated.abc_class = any(string_to_array(recommendations.abc_classes, '|')))
        and (recommendations.trends is null or rated.trend = any(string_to_array(recommendations.trends, '|')))
        and (recommendations.min_return_rate is null or rated.return_rate >= recommendations.min_return_rate)
        and (recommendations.min_kept_unit_count is null or rated.kept_unit_count >= recommendations.min_kept_unit_count)
        and (recommendations.max_margin_rate is null or rated.margin_rate < recommendations.max_margin_rate)
        and (recommendations.max_health_score is null or health.health_score < recommendations.max_health_score)
        and (recommendations.is_active is null or rated.is_active = recommendations.is_active)
    order by rated.source_system, rated.product_id, recommendations.priority

),

final as (

    select
        -- ids
        source_system,
        product_id,
        product_key,

        -- text
        product_name,
        coalesce(category, 'Uncategorised') as category,
        subcategory,
        brand,
        currency,
        abc_class,
        trend,
        recommendation,
        suggested_action,

        -- dates
        first_sold_date,
        last_sold_date,
        as_of_date,

        -- numbers
        price as current_price,
        cost as current_cost,
        order_count,
        unit_count,
        cancelled_unit_count,
        returned_unit_count,
        gross_amount::numeric(18, 4) as gross_amount,
        discount_amount::numeric(18, 4) as discount_amount,
        cancelled_amount::numeric(18, 4) as cancelled_amount,
        refund_amount::numeric(18, 4) as refund_amount,
        net_amount::numeric(18, 4) as net_amount,
        kept_cost_amount::numeric(18, 4) as cost_amount,
        margin_amount::numeric(18, 4) as margin_amount,
        margin_rate,
        return_rate,
        round(gross_amount / nullif(unit_count, 0), 4)::numeric(18, 4) as average_price,
        round(net_share, 10)::numeric(20, 10) as net_share,
        round(cumulative_share, 10)::numeric(20, 10) as cumulative_net_share,
        recent_net_amount::numeric(18, 4) as recent_net_amount,
        previous_net_amount::numeric(18, 4) as previous_net_amount,
        net_change_ratio,
        health_score::numeric(18, 6) as health_score,

        -- booleans
        is_active,
        is_inferred
    from recommended

)

select * from final
