{{
    config(
        unique_key=['source_system', 'channel', 'day'],
        meta={'needs': ['marketing_spend'], 'touched': {'days': ['day']}},
    )
}}

with

marketing_days as (

    select * from {{ ref('int_marketing_day') }}

),

attribution_days as (

    select * from {{ ref('int_attribution_day') }}
    where attribution_model = 'first_touch'
        and {{ has_marketing('source_system') }}

),

channels as (

    select * from {{ ref('dim_channel') }}

),

reach as (

    select
        source_system,
        channel,
        day,
        sum(impression_count)::bigint as impression_count,
        sum(click_count)::bigint as click_count,
        sum(session_count)::bigint as session_count,
        sum(converted_session_count)::bigint as converted_session_count,
        sum(spend_amount) as spend_amount
    from marketing_days
    where {{ has_marketing('source_system') }}
    group by 1, 2, 3

),

sales as (

    select
        source_system,
        channel,
        day,
        {{ sum_measures() }}
    from attribution_days
    group by 1, 2, 3

),

joined as (

    select
        coalesce(reach.source_system, sales.source_system) as source_system,
        coalesce(reach.channel, sales.channel) as channel,
        coalesce(reach.day, sales.day) as day,
        date_trunc('month', coalesce(reach.day, sales.day)::timestamp)::date as month,
        coalesce(reach.impression_count, 0) as impression_count,
        coalesce(reach.click_count, 0) as click_count,
        coalesce(reach.session_count, 0) as session_count,
        coalesce(reach.converted_session_count, 0) as converted_session_count,
        coalesce(sales.order_count, 0) as order_count,
        coalesce(reach.spend_amount, 0) as spend_amount,
        coalesce(sales.gross_amount - sales.discount_amount, 0) as conversion_value,
        coalesce({{ net_amount(
            'sales.gross_amount', 'sales.discount_amount', 'sales.cancelled_amount', 'sales.refund_amount'
        ) }}, 0) as net_amount,
        case when sales.source_system is null then 0 else {{ known_kept_cost('sales.') }} end as kept_cost_amount
    from reach
    full join sales
        on reach.source_system = sales.source_system
        and reach.channel = sales.channel
        and reach.day = sales.day

),

-- Observed values as quartiles, so that nothing is interpolated; of the month alone, so that a late day moves no other month.

quartiles as (

    select
        source_system,
        channel,
        month,
        percentile_disc(0.25) within group (order by spend_amount) as lower_spend,
        percentile_disc(0.75) within group (order by spend_amount) as upper_spend,
        percentile_disc(0.25) within group (order by click_count) as lower_clicks,
        percentile_disc(0.75) within group (order by click_count) as upper_clicks,
        percentile_disc(0.25) within group (order by conversion_value) as lower_value,
        percentile_disc(0.75) within group (order by conversion_value) as upper_value
    from joined
    group by 1, 2, 3

),

flagged as (

    select
        joined.*,
        {{ is_iqr_outlier('joined.spend_amount', 'quartiles.lower_spend', 'quartiles.upper_spend') }}
            as is_spend_outlier,
        {{ is_iqr_outlier('joined.click_count', 'quartiles.lower_clicks', 'quartiles.upper_clicks') }}
            as is_click_outlier,
        {{ is_iqr_outlier('joined.conversion_value', 'quartiles.lower_value', 'quartiles.upper_value') }}
            as is_conversion_value_outlier
    from joined
    inner join quartiles
        on joined.source_system = quartiles.source_system
        and joined.channel = quartiles.channel
        and joined.month = quartiles.month

),

final as (

    select
        -- ids
        flagged.source_system,
        flagged.channel,
        flagged.day,

        -- text
        channels.channel_name,
        {{ source_currency('flagged.source_system') }} as currency,

        -- numbers
        flagged.impression_count,
        flagged.click_count,
        flagged.session_count,
        flagged.converted_session_count,
        flagged.order_count,
        flagged.spend_amount::numeric(18, 4) as spend_amount,
        flagged.conversion_value::numeric(18, 4) as conversion_value,
        flagged.net_amount::numeric(18, 4) as net_amount,
        (flagged.net_amount - flagged.kept_cost_amount)::numeric(18, 4) as margin_amount,
        {{ ratio('flagged.click_count', 'flagged.impression_count') }} as click_through_rate,
        {{ ratio('flagged.converted_session_count', 'flagged.session_count') }} as conversion_rate,
        round(flagged.spend_amount / nullif(flagged.click_count, 0), 4)::numeric(18, 4) as cost_per_click,
        {{ ratio('flagged.conversion_value', 'flagged.spend_amount') }} as return_on_ad_spend,

        -- booleans
        channels.is_paid,
        flagged.is_spend_outlier,
        flagged.is_click_outlier,
        flagged.is_conversion_value_outlier,
        flagged.is_spend_outlier or flagged.is_click_outlier or flagged.is_conversion_value_outlier as is_outlier
    from flagged
    left join channels on flagged.channel = channels.channel

)

select * from final
