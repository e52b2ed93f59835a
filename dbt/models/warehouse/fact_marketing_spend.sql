{{ config(
    incremental_strategy='touched_keys',
    unique_key=['source_system', 'spend_date', 'source_channel', 'campaign'],
    meta={'touched': {'days': ['spend_date']}},
    indexes=[{'columns': ['source_system', 'spend_date', 'source_channel', 'campaign'], 'unique': true}],
) }}

{%- set window = open_window() -%}
{%- set touched_query -%}
    select source_system, split_part(key, '|', 1)::date as spend_date
    from ({{ touched_by_loads(window, 'marketing_spend') }}) as spend
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'spend_date'], touched_query, days=['spend_date']) %}

with delivered as (
    select * from {{ ref('stg_marketing_spend') }}
    where {{ is_touched(touched) }}
),

aliases as (
    select * from {{ ref('channel_aliases') }}
),

versions as (
    select
        *,
        row_number() over (
            partition by source_system, spend_date, channel, campaign
            order by {{ latest_version_first() }}
        ) as recency
    from delivered
),

spend as (
    select
        versions.*,
        coalesce(aliases.channel, 'unknown') as conformed_channel
    from versions
    left join aliases on versions.channel = aliases.alias
    where versions.recency = 1
)

select
    {{ surrogate_key(['source_system', 'spend_date', 'channel', 'campaign']) }} as spend_key,
    source_system,
    spend_date,
    channel as source_channel,
    campaign,
    conformed_channel as channel,
    {{ surrogate_key(['conformed_channel']) }} as channel_key,
    impression_count::bigint as impression_count,
    click_count::bigint as click_count,
    {{ source_currency('source_system') }} as currency,
    spend_amount::numeric(18, 4) as spend_amount
from spend
