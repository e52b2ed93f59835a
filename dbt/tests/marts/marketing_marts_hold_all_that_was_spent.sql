-- By channel, to the cent: days, months, all days, and months of acquisition; every campaign of a channel together.

with

spend as (

    select
        source_system,
        channel,
        sum(spend_amount) as spend_amount
    from {{ ref('int_marketing_day') }}
    where {{ has_marketing('source_system') }}
    group by source_system, channel

),

shown as (

    select 'channel_performance_daily' as table_name, source_system, channel, sum(spend_amount) as spend_amount
    from {{ ref('channel_performance_daily') }}
    group by source_system, channel

    union all

    select 'channel_performance of ' || period_type, source_system, channel, sum(spend_amount)
    from {{ ref('channel_performance') }}
    group by period_type, source_system, channel

    union all

    select 'campaign_performance of ' || period_types.period_type, spend.source_system, spend.channel,
        coalesce(sum(campaigns.spend_amount), 0)
    from spend
    cross join (values ('month'), ('all')) as period_types (period_type)
    left join {{ ref('campaign_performance') }} as campaigns
        on spend.source_system = campaigns.source_system
        and spend.channel = campaigns.channel
        and period_types.period_type = campaigns.period_type
    group by period_types.period_type, spend.source_system, spend.channel

    union all

    select 'customer_acquisition', source_system, channel, sum(spend_amount)
    from {{ ref('customer_acquisition') }}
    group by source_system, channel

),

tables as (

    select distinct table_name from shown

)

select
    tables.table_name,
    spend.source_system,
    spend.channel,
    spend.spend_amount,
    shown.spend_amount as shown_amount
from spend
cross join tables
left join shown
    on tables.table_name = shown.table_name
    and spend.source_system = shown.source_system
    and spend.channel = shown.channel
where coalesce(shown.spend_amount, 0) <> spend.spend_amount
