{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'day', 'attribution_model', 'channel', 'campaign', 'is_tracked'],
        meta={'touched': {'days': ['day']}},
        indexes=[
            {
                'columns': ['source_system', 'day', 'attribution_model', 'channel', 'campaign', 'is_tracked'],
                'unique': True,
            },
        ],
    )
}}

{%- set window = open_window() -%}
{%- set touched_days -%}
    select source_system, day from ({{ touched_by(window, 'fact_orders') }}) as orders
    union all
    select source_system, day from ({{ touched_by(window, 'fact_order_items') }}) as order_items
    union all
    select source_system, day from ({{ touched_by(window, 'fact_returns') }}) as returns
    union all
    -- an order with another touch moves all that counts of it, on whatever day
    select source_system, day from ({{ touched_by(window, 'int_order_touches') }}) as touches
    union all
    select orders.source_system, orders.cancelled_date as day
    from ({{ touched_by(window, 'int_order_touches') }}) as touches
    inner join {{ ref('fact_orders') }} as orders
        on touches.source_system = orders.source_system
        and touches.key = orders.order_id
        and touches.day = orders.order_date
    union all
    select returns.source_system, returns.returned_date as day
    from ({{ touched_by(window, 'int_order_touches') }}) as touches
    inner join {{ ref('fact_returns') }} as returns
        on touches.source_system = returns.source_system
        and touches.key = returns.order_id
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'day'], touched_days, days=['day']) %}

with

events as (

    select * from {{ ref('int_sales_events') }}
    where {{ is_touched(touched) }}

),

touches as (

    select * from {{ ref('int_order_touches') }}

),

-- Every order has its row of touches; the outer join keeps the sum whole whatever happens.

touched_orders as (

    select
        events.source_system,
        events.day,
        coalesce(touches.first_touch_channel, 'unknown') as first_touch_channel,
        coalesce(touches.first_touch_campaign, {{ no_campaign() }}) as first_touch_campaign,
        coalesce(touches.last_touch_channel, 'unknown') as last_touch_channel,
        coalesce(touches.last_touch_campaign, {{ no_campaign() }}) as last_touch_campaign,
        coalesce(touches.is_tracked, false) as is_tracked,
        min(events.currency) as currency,
        {{ sum_measures(prefix='events.') }}
    from events
    left join touches
        on events.source_system = touches.source_system
        and events.order_id = touches.order_id
    group by 1, 2, 3, 4, 5, 6, 7

),

by_model as (

    select
        touched_orders.*,
        models.attribution_model,
        models.channel,
        models.campaign
    from touched_orders
    cross join lateral (
        values
        ('first_touch', touched_orders.first_touch_channel, touched_orders.first_touch_campaign),
        ('last_touch', touched_orders.last_touch_channel, touched_orders.last_touch_campaign)
    ) as models (attribution_model, channel, campaign)

),

summed as (

    select
        -- ids
        source_system,
        day,
        attribution_model,
        channel,
        campaign,
        is_tracked,

        -- text
        min(currency) as currency,

        -- numbers
        {{ sum_measures() }}
    from by_model
    group by 1, 2, 3, 4, 5, 6

)

select * from summed
