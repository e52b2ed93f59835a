{{
    config(
        unique_key=['source_system', 'period_type', 'period_start', 'channel', 'campaign'],
        meta={'needs': ['marketing_spend']},
    )
}}

with

marketing_days as (

    select * from {{ ref('int_marketing_day') }}
    where {{ has_marketing('source_system') }}

),

attribution_days as (

    select * from {{ ref('int_attribution_day') }}
    where attribution_model = 'last_touch'
        and {{ has_marketing('source_system') }}

),

channels as (

    select * from {{ ref('dim_channel') }}

),

reach as (

    select
        source_system,
        channel,
        campaign,
        date_trunc('month', day::timestamp)::date as month,
        min(day) as first_date,
        max(day) as last_date,
        sum(impression_count) as impression_count,
        sum(click_count) as click_count,
        sum(session_count) as session_count,
        sum(converted_session_count) as converted_session_count,
        sum(spend_amount) as spend_amount
    from marketing_days
    where campaign <> {{ no_campaign() }}
    group by 1, 2, 3, 4

),

-- Which campaign was the last touch is known of the orders whose own visit is on record.

sales as (

    select
        source_system,
        channel,
        campaign,
        date_trunc('month', day::timestamp)::date as month,
        {{ sum_measures() }}
    from attribution_days
    where is_tracked
        and campaign <> {{ no_campaign() }}
    group by 1, 2, 3, 4

),

joined as (

    select
        coalesce(reach.source_system, sales.source_system) as source_system,
        coalesce(reach.channel, sales.channel) as channel,
        coalesce(reach.campaign, sales.campaign) as campaign,
        coalesce(reach.month, sales.month) as month,
        reach.first_date,
        reach.last_date,
        coalesce(reach.impression_count, 0) as impression_count,
        coalesce(reach.click_count, 0) as click_count,
        coalesce(reach.session_count, 0) as session_count,
        coalesce(reach.converted_session_count, 0) as converted_session_count,
        coalesce(reach.spend_amount, 0) as spend_amount,
        coalesce(sales.order_count, 0) as order_count,
        coalesce(sales.gross_amount - sales.discount_amount, 0) as order_amount,
        case
            when sales.source_system is null then 0
            else {{ net_amount(
                'sales.gross_amount', 'sales.discount_amount', 'sales.cancelled_amount', 'sales.refund_amount'
            ) }} - {{ known_kept_cost('sales.') }}
        end as margin_amount
    from reach
    full join sales
        on reach.source_system = sales.source_system
        and reach.channel = sales.channel
        and reach.campaign = sales.campaign
        and reach.month = sales.month

),

periods as (

    select
        source_system,
        'month' as period_type,
        date_trunc('month', day::timestamp)::date as month,
        sum(order_count) as order_count,
        coalesce(sum(order_count) filter (where is_tracked), 0) as tracked_order_count
    from attribution_days
    group by 1, 3

),

all_periods as (

    select * from periods

    union all

    select
        source_system,
        'all',
        null::date,
        sum(order_count),
        sum(tracked_order_count)
    from periods
    group by 1

),

-- All days make one period, from the shop's first day to its last, as in channel_performance.

days as (

    select
        source_system,
        day
    from marketing_days

    union all

    select
        source_system,
        day
    from attribution_days

),

spans as (

    select
        source_system,
        min(day) as first_day,
        max(day) as last_day
    from days
    group by 1

),

summed as (

    select
        joined.source_system,
        period_types.period_type,
        case when period_types.period_type = 'month' then joined.month end as month,
        joined.channel,
        joined.campaign,
        min(joined.first_date) as first_active_date,
        max(joined.last_date) as last_active_date,
        sum(joined.impression_count)::bigint as impression_count,
        sum(joined.click_count)::bigint as click_count,
        sum(joined.session_count)::bigint as session_count,
        sum(joined.converted_session_count)::bigint as converted_session_count,
        sum(joined.spend_amount) as spend_amount,
        sum(joined.order_count)::bigint as tracked_order_count,
        sum(joined.order_amount) as tracked_order_amount,
        case when count(*) = count(joined.margin_amount) then sum(joined.margin_amount) end as tracked_margin_amount
    from joined
    cross join (values ('month'), ('all')) as period_types (period_type)
    group by 1, 2, 3, 4, 5

),

-- Where visits are a sample, so are the orders on record: what they come to is seen through the share that is. Each figure is
-- divided once, so that nothing rounded is rounded again.

shared as (

    select
        summed.*,
        coalesce(summed.month, spans.first_day) as period_start,
        coalesce((summed.month + interval '1 month')::date - 1, spans.last_day) as period_end,
        all_periods.order_count as all_order_count,
        all_periods.tracked_order_count as all_tracked_count
    from summed
    inner join spans on summed.source_system = spans.source_system
    left join all_periods
        on summed.source_system = all_periods.source_system
        and summed.period_type = all_periods.period_type
        and summed.month is not distinct from all_periods.month

),

estimated as (

    select
        *,
        round(tracked_margin_amount * all_order_count / nullif(all_tracked_count, 0), 4) - spend_amount
            as estimated_profit_amount
    from shared

),

final as (

    select
        -- ids
        estimated.source_system,
        estimated.period_type,
        estimated.period_start,
        estimated.channel,
        estimated.campaign,

        -- text
        channels.channel_name,
        {{ source_currency('estimated.source_system') }} as currency,

        -- dates
        estimated.period_end,
        estimated.first_active_date,
        estimated.last_active_date,

        -- numbers
        estimated.impression_count,
        estimated.click_count,
        estimated.session_count,
        estimated.converted_session_count,
        estimated.tracked_order_count,
        estimated.spend_amount::numeric(18, 4) as spend_amount,
        estimated.tracked_order_amount::numeric(18, 4) as tracked_order_amount,
        estimated.tracked_margin_amount::numeric(18, 4) as tracked_margin_amount,
        {{ ratio('estimated.all_tracked_count', 'estimated.all_order_count') }} as tracked_order_share,
        round(
            estimated.tracked_order_count * estimated.all_order_count / nullif(estimated.all_tracked_count, 0), 4
        )::numeric(18, 4) as estimated_order_count,
        round(
            estimated.tracked_order_amount * estimated.all_order_count / nullif(estimated.all_tracked_count, 0), 4
        )::numeric(18, 4) as estimated_conversion_value,
        estimated.estimated_profit_amount::numeric(18, 4) as estimated_profit_amount,
        {{ ratio('estimated.click_count', 'estimated.impression_count') }} as click_through_rate,
        {{ ratio('estimated.converted_session_count', 'estimated.session_count') }} as conversion_rate,
        round(estimated.spend_amount / nullif(estimated.click_count, 0), 4)::numeric(18, 4) as cost_per_click,
        round(
            estimated.spend_amount * estimated.all_tracked_count
            / nullif(estimated.tracked_order_count * estimated.all_order_count, 0), 4
        )::numeric(18, 4) as cost_per_order,
        {{ ratio(
            'estimated.tracked_order_amount * estimated.all_order_count',
            'estimated.spend_amount * estimated.all_tracked_count',
        ) }} as return_on_ad_spend,
        {{ ratio(
            'estimated.tracked_margin_amount * estimated.all_order_count'
            ~ ' - estimated.spend_amount * estimated.all_tracked_count',
            'estimated.spend_amount * estimated.all_tracked_count',
        ) }} as return_on_investment,
        rank() over (
            partition by estimated.source_system, estimated.period_type, estimated.period_start
            order by estimated.estimated_profit_amount desc nulls last
        )::integer as profit_rank
    from estimated
    left join channels on estimated.channel = channels.channel

)

select * from final
