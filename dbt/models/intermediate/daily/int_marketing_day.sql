{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'day', 'channel', 'campaign'],
        meta={'touched': {'days': ['day']}},
        indexes=[{'columns': ['source_system', 'day', 'channel', 'campaign'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_days -%}
    select source_system, day from ({{ touched_by(window, 'fact_marketing_spend') }}) as spend
    union all
    select source_system, day from ({{ touched_by(window, 'fact_sessions') }}) as sessions
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'day'], touched_days, days=['day']) %}

with

spend as (

    select * from {{ ref('fact_marketing_spend') }}
    where {{ is_touched(touched, {'day': 'spend_date'}) }}

),

sessions as (

    select * from {{ ref('fact_sessions') }}
    where {{ is_touched(touched, {'day': 'session_date'}) }}

),

united as (

    select
        source_system,
        spend_date as day,
        channel,
        coalesce(nullif(campaign, ''), {{ no_campaign() }}) as campaign,
        impression_count,
        click_count,
        spend_amount,
        0 as session_count,
        0 as converted_session_count
    from spend

    union all

    select
        source_system,
        session_date,
        channel,
        coalesce(nullif(campaign, ''), {{ no_campaign() }}),
        0,
        0,
        0,
        1,
        has_purchase::integer
    from sessions

),

summed as (

    select
        -- ids
        source_system,
        day,
        channel,
        campaign,

        -- numbers
        sum(impression_count)::bigint as impression_count,
        sum(click_count)::bigint as click_count,
        sum(session_count)::bigint as session_count,
        sum(converted_session_count)::bigint as converted_session_count,
        sum(spend_amount)::numeric(18, 4) as spend_amount
    from united
    group by 1, 2, 3, 4

)

select * from summed
