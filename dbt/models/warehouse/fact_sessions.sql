{{ config(
    incremental_strategy='touched_keys',
    unique_key=['source_system', 'session_id'],
    meta={
        'partition_by_month': 'session_date',
        'touched': {'key': 'session_id', 'days': ['session_date']},
    },
    indexes=[
        {'columns': ['source_system', 'session_id', 'session_date'], 'unique': true},
        {'columns': ['source_system', 'customer_id', 'started_at']},
        {'columns': ['source_system', 'order_id']},
        {'columns': ['session_date']},
    ],
) }}

{%- set window = open_window() -%}
{#- Events that came in several versions are known: only of them the latest is looked for. -#}
{%- set changed_query -%}
    select source_system, key as event_id from ({{ touched_by(window, 'int_flagged_web_events') }}) as events
{%- endset -%}
{%- set changed_events = touched_keys(window, ['source_system', 'event_id'], changed_query, name='changed_events') -%}
{%- set touched_query -%}
    select source_system, key as session_id from ({{ touched_by_loads(window, 'sessions') }}) as sessions
    union all
    -- the session that an event belonged to in another version
    select source_system, session_id from {{ ref('stg_web_events') }} where {{ is_touched(changed_events) }}
    union all
    -- sessions inside an interval of their customer that changed
    select sessions.source_system, sessions.session_id
    from ({{ touched_by(window, 'dim_customers') }}) as customers
    inner join {{ this }} as sessions
        on customers.source_system = sessions.source_system
        and customers.key = sessions.customer_id
        and sessions.started_at >= customers.changed_from
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'session_id'], touched_query) -%}
{%- set repeated_query -%}
    select events.source_system, events.event_id
    from {{ ref('stg_web_events') }} as events
    inner join {{ ref('int_flagged_web_events') }} as flagged
        on events.source_system = flagged.source_system
        and events.event_id = flagged.event_id
    where flagged.version_count > 1
        and {{ is_touched(touched, {'source_system': 'events.source_system'}) }}
{%- endset -%}
{%- set repeated = touched_keys(window, ['source_system', 'event_id'], repeated_query, name='repeated') %}

{%- set counted_types = ['page_view', 'search', 'product_view', 'add_to_cart', 'checkout', 'purchase'] %}

with delivered as (
    select * from {{ ref('stg_web_events') }}
    where {{ is_touched(touched) }}
    {%- if touched.mode == 'some' %}
        or {{ is_touched(repeated) }}
    {%- endif %}
),

customers as (
    select * from {{ ref('dim_customers') }}
),

aliases as (
    select * from {{ ref('channel_aliases') }}
),

referrer_channels as (
    select * from {{ ref('referrer_channels') }}
),

versions as (
    select
        *,
        row_number() over (
            partition by source_system, event_id
            order by {{ latest_version_first() }}
        ) as recency
    from delivered
),

events as (
    select
        *,
        row_number() over (
            partition by source_system, session_id
            order by event_at, event_id collate "C"
        ) as position
    from versions
    where recency = 1
        and {{ is_touched(touched) }}
),

sessions as (
    select
        source_system,
        session_id,
        min(event_at) as started_at,
        max(event_at) as ended_at,
        -- a visitor may sign in on the way: the last one who is known
        (
            array_agg(customer_id order by event_at desc, event_id collate "C" desc)
            filter (where customer_id is not null)
        )[1] as customer_id,
        (
            array_agg(substring(page_url from '[?&]order=([^&#]+)') order by event_at desc, event_id collate "C" desc)
            filter (where event_type = 'purchase' and page_url ~ '[?&]order=[^&#]')
        )[1] as order_id,
        count(*) as event_count,
        {% for event_type in counted_types -%}
        count(*) filter (where event_type = '{{ event_type }}') as {{ event_type }}_count,
        {% endfor -%}
        count(distinct product_id) as product_count
    from events
    group by source_system, session_id
),

landings as (
    select
        source_system,
        session_id,
        event_date as session_date,
        device_type,
        country,
        city,
        page_url as landing_page_url,
        referrer,
        utm_source,
        utm_medium,
        utm_campaign,
        {{ url_host('referrer') }} as referrer_host,
        coalesce({{ url_host('referrer') }} = {{ url_host('page_url') }}, false) as is_own_referrer
    from events
    where position = 1
),

-- few hosts, many sessions
hosts as (
    select distinct referrer_host from landings
    where referrer_host is not null
),

-- of the domains that hold a host, the longest says the most
host_channels as (
    select distinct on (hosts.referrer_host)
        hosts.referrer_host,
        referrer_channels.channel
    from hosts
    inner join referrer_channels
        on hosts.referrer_host = referrer_channels.domain
        or right(hosts.referrer_host, length(referrer_channels.domain) + 1) = '.' || referrer_channels.domain
    order by hosts.referrer_host asc, length(referrer_channels.domain) desc
),

-- what the address of the landing page says, else what the page before it says, else nothing brought the visitor
channelled as (
    select
        landings.*,
        case
            when num_nonnulls(landings.utm_medium, landings.utm_source) > 0
                then coalesce(medium_aliases.channel, source_aliases.channel, 'unknown')
            when landings.referrer_host is null or landings.is_own_referrer then 'direct'
            else coalesce(host_channels.channel, 'referral')
        end as channel
    from landings
    left join aliases as medium_aliases on landings.utm_medium = medium_aliases.alias
    left join aliases as source_aliases on landings.utm_source = source_aliases.alias
    left join host_channels on landings.referrer_host = host_channels.referrer_host
)

select
    {{ surrogate_key(['sessions.source_system', 'sessions.session_id']) }} as session_key,
    sessions.source_system,
    sessions.session_id,
    sessions.customer_id,
    customers.customer_key,
    sessions.order_id,

    channelled.session_date,
    sessions.started_at,
    sessions.ended_at,
    extract(epoch from sessions.ended_at - sessions.started_at)::integer as duration_seconds,

    channelled.device_type,
    channelled.country,
    channelled.city,
    channelled.landing_page_url,
    channelled.referrer,
    channelled.utm_source,
    channelled.utm_medium,
    channelled.channel,
    {{ surrogate_key(['channelled.channel']) }} as channel_key,
    channelled.utm_campaign as campaign,

    {{ funnel_step('sessions') }} as furthest_step,
    sessions.event_count::integer as event_count,
    {% for event_type in counted_types -%}
    sessions.{{ event_type }}_count::integer as {{ event_type }}_count,
    {% endfor -%}
    sessions.product_count::integer as product_count,
    sessions.purchase_count > 0 as has_purchase
from sessions
inner join channelled
    on sessions.source_system = channelled.source_system
    and sessions.session_id = channelled.session_id
left join customers
    on sessions.source_system = customers.source_system
    and sessions.customer_id = customers.customer_id
    and sessions.started_at >= customers.valid_from
    and sessions.started_at < customers.valid_to
