{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'customer_id'],
        indexes=[{'columns': ['source_system', 'customer_id'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_customers -%}
    select source_system, customer_id from ({{ touched_by(window, 'int_customer_totals') }}) as totals
    union all
    select source_system, key as customer_id from ({{ touched_by(window, 'dim_customers') }}) as customers
    union all
    select source_system, customer_id from ({{ touched_by(window, 'fact_sessions') }}) as sessions
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'customer_id'], touched_customers) -%}
{#- Visits tell of those only of whom the shop recorded nothing: they are looked for in all months. -#}
{%- set unrecorded_customers -%}
    select source_system, customer_id from {{ ref('dim_customers') }}
    where is_current
        and acquisition_channel is null
        and {{ is_touched(touched) }}
{%- endset -%}
{%- set unrecorded = touched_keys(window, ['source_system', 'customer_id'], unrecorded_customers, name='unrecorded') %}

with

customers as (

    select * from {{ ref('dim_customers') }}
    where is_current
        and {{ is_touched(touched) }}

),

totals as (

    select * from {{ ref('int_customer_totals') }}
    where {{ is_touched(touched) }}

),

sessions as (

    select * from {{ ref('fact_sessions') }}
    where customer_id is not null
        and {{ is_touched(unrecorded) }}

),

aliases as (

    select * from {{ ref('channel_aliases') }}

),

first_sessions as (

    select distinct on (source_system, customer_id)
        source_system,
        customer_id,
        session_date,
        started_at,
        channel,
        campaign
    from sessions
    order by source_system asc, customer_id asc, started_at asc, session_id collate "C" asc

),

-- What the shop itself recorded is the first touch, whenever that was; else the first visit on record.

first_touches as (

    select
        customers.source_system,
        customers.customer_id,
        totals.first_order_date,
        customers.acquisition_channel is not null as is_recorded,
        case
            when customers.acquisition_channel is not null then coalesce(aliases.channel, 'unknown')
            else coalesce(first_sessions.channel, 'unknown')
        end as first_touch_channel,
        case
            when customers.acquisition_channel is null then first_sessions.campaign
        end as first_touch_campaign,
        case
            when customers.acquisition_channel is null then first_sessions.started_at
        end as first_touch_at,
        case
            when customers.acquisition_channel is null then first_sessions.session_date
        end as first_touch_date
    from customers
    left join totals
        on customers.source_system = totals.source_system
        and customers.customer_id = totals.customer_id
    left join aliases on lower(btrim(customers.acquisition_channel)) = aliases.alias
    left join first_sessions
        on customers.source_system = first_sessions.source_system
        and customers.customer_id = first_sessions.customer_id

),

final as (

    select
        -- ids
        source_system,
        customer_id,

        -- text
        first_touch_channel,
        coalesce(first_touch_campaign, {{ no_campaign() }}) as first_touch_campaign,
        -- a visit after the first order did not bring the customer
        case
            when is_recorded or first_touch_date <= first_order_date then first_touch_channel
            else 'unknown'
        end as acquisition_channel,

        -- booleans
        is_recorded,

        -- dates
        first_touch_at,
        first_order_date
    from first_touches

)

select * from final
