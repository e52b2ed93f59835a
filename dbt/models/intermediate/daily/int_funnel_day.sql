{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'day', 'device_type', 'channel'],
        meta={'touched': {'days': ['day']}},
        indexes=[{'columns': ['source_system', 'day', 'device_type', 'channel'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_days -%}
    select source_system, day from ({{ touched_by(window, 'fact_sessions') }}) as sessions
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'day'], touched_days, days=['day']) %}

with

sessions as (

    select * from {{ ref('fact_sessions') }}
    where {{ is_touched(touched, {'day': 'session_date'}) }}

),

-- A visit that reached a step has passed those before it, also where their events are missing.

summed as (

    select
        -- ids
        source_system,
        session_date as day,
        device_type,
        channel,

        -- numbers
        count(*) as session_count,
        count(*) filter (where furthest_step >= 2) as product_session_count,
        count(*) filter (where furthest_step >= 3) as cart_session_count,
        count(*) filter (where furthest_step >= 4) as checkout_session_count,
        count(*) filter (where furthest_step >= 5) as purchase_session_count
    from sessions
    group by source_system, session_date, device_type, channel

)

select * from summed
