with

web_events as (

    select * from {{ source('ecommerce', 'web_events') }}

),

files as (

    select * from {{ source('raw', 'load_ledger') }}

),

renamed as (

    select

        ---------- ids
        web_events.event_id,
        web_events.session_id,
        web_events.customer_id,
        web_events.product_id,

        ---------- text
        web_events.event_type,
        web_events.device_type,
        nullif(btrim(web_events.user_agent), '') as user_agent,
        web_events.ip_address,
        web_events.country,
        nullif(btrim(web_events.city), '') as city,
        nullif(btrim(web_events.referrer), '') as referrer,
        nullif(btrim(web_events.page_url), '') as page_url,
        {{ url_parameter('web_events.page_url', 'utm_source') }} as utm_source,
        {{ url_parameter('web_events.page_url', 'utm_medium') }} as utm_medium,
        {{ url_parameter('web_events.page_url', 'utm_campaign') }} as utm_campaign,

        ---------- dates and times
        web_events.event_timestamp as event_at,
        (web_events.event_timestamp at time zone {{ source_time_zone("'ecommerce'") }})::date as event_date,
        web_events.event_timestamp as version_at,

        ---------- trail
        web_events._file_id,
        files.business_date as _business_date,
        files.path as _path,
        web_events._line_number

    from web_events
    inner join files
        on files.file_id = web_events._file_id

)

select * from renamed
