{{
    config(
        unique_key=['source_system', 'period_type', 'period_start', 'channel'],
        meta={'needs': ['marketing_spend']},
    )
}}

with

channel_days as (

    select * from {{ ref('channel_performance_daily') }}

),

acquisition_months as (

    select * from {{ ref('int_acquisition_month') }}
    where {{ has_marketing('source_system') }}

),

-- All days make one period, from the shop's first day to its last.

day_periods as (

    select
        channel_days.*,
        period_types.period_type,
        case period_types.period_type
            when 'month' then date_trunc('month', channel_days.day::timestamp)::date
            when 'all' then min(channel_days.day) over (partition by channel_days.source_system)
        end as period_start,
        case period_types.period_type
            when 'month' then (date_trunc('month', channel_days.day::timestamp) + interval '1 month')::date - 1
            when 'all' then max(channel_days.day) over (partition by channel_days.source_system)
        end as period_end
    from channel_days
    cross join (values ('month'), ('all')) as period_types (period_type)

),

summed as (

    select
        source_system,
        period_type,
        period_start,
        period_end,
        channel,
        channel_name,
        currency,
        is_paid,
        count(*) as active_day_count,
        count(*) filter (where is_outlier) as outlier_day_count,
        sum(impression_count)::bigint as impression_count,
        sum(click_count)::bigint as click_count,
        sum(session_count)::bigint as session_count,
        sum(converted_session_count)::bigint as converted_session_count,
        sum(order_count)::bigint as order_count,
        sum(spend_amount) as spend_amount,
        sum(conversion_value) as conversion_value,
        sum(net_amount) as net_amount,
        case when count(*) = count(margin_amount) then sum(margin_amount) end as margin_amount
    from day_periods
    group by 1, 2, 3, 4, 5, 6, 7, 8

),

-- A customer is new in the month of the first order: a row about that month itself.

new_customers as (

    select
        source_system,
        channel,
        acquisition_month,
        customer_count
    from acquisition_months
    where month = acquisition_month

),

new_customer_periods as (

    select
        source_system,
        channel,
        'month' as period_type,
        acquisition_month,
        customer_count as new_customer_count
    from new_customers

    union all

    select
        source_system,
        channel,
        'all',
        null::date,
        sum(customer_count)::bigint
    from new_customers
    group by 1, 2

),

measured as (

    select
        summed.*,
        coalesce(new_customer_periods.new_customer_count, 0) as new_customer_count,
        summed.margin_amount - summed.spend_amount as profit_amount
    from summed
    left join new_customer_periods
        on summed.source_system = new_customer_periods.source_system
        and summed.channel = new_customer_periods.channel
        and summed.period_type = new_customer_periods.period_type
        and (summed.period_type = 'all' or summed.period_start = new_customer_periods.acquisition_month)

),

final as (

    select
        -- ids
        source_system,
        period_type,
        period_start,
        channel,

        -- text
        channel_name,
        currency,

        -- dates
        period_end,

        -- numbers
        active_day_count,
        outlier_day_count,
        impression_count,
        click_count,
        session_count,
        converted_session_count,
        new_customer_count,
        order_count,
        spend_amount::numeric(18, 4) as spend_amount,
        conversion_value::numeric(18, 4) as conversion_value,
        net_amount::numeric(18, 4) as net_amount,
        margin_amount::numeric(18, 4) as margin_amount,
        profit_amount::numeric(18, 4) as profit_amount,
        {{ ratio('click_count', 'impression_count') }} as click_through_rate,
        {{ ratio('converted_session_count', 'session_count') }} as conversion_rate,
        round(spend_amount / nullif(click_count, 0), 4)::numeric(18, 4) as cost_per_click,
        round(spend_amount / nullif(new_customer_count, 0), 4)::numeric(18, 4) as cost_per_acquisition,
        round(spend_amount / nullif(order_count, 0), 4)::numeric(18, 4) as cost_per_order,
        {{ ratio('conversion_value', 'spend_amount') }} as return_on_ad_spend,
        {{ ratio('profit_amount', 'spend_amount') }} as return_on_investment,
        rank() over (
            partition by source_system, period_type, period_start
            order by profit_amount desc nulls last
        )::integer as profit_rank,

        -- booleans
        is_paid
    from measured

)

select * from final
