{{ config(
    incremental_strategy='changed_rows',
    unique_key='channel',
    indexes=[{'columns': ['channel'], 'unique': true}],
) }}

with channels as (
    select * from {{ ref('channels') }}
),

united as (
    select channel, channel_name, is_paid, false as is_unknown from channels
    union all
    select 'unknown' as channel, 'Unknown' as channel_name, false as is_paid, true as is_unknown
)

select
    {{ surrogate_key(['channel']) }} as channel_key,
    channel,
    channel_name,
    is_paid,
    is_unknown
from united
