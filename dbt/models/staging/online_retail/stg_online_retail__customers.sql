with

lines as (

    select * from {{ ref('base_online_retail__lines') }}

),

observed as (

    -- what the last line of a moment says of a customer
    select distinct on (customer_id, invoiced_at) *
    from lines
    where customer_id is not null
    order by customer_id, invoiced_at, order_id collate "C" desc, order_item_id collate "C" desc

),

compared as (

    select
        *,
        row_number() over versions as version_number,
        lag(country) over versions as country_before
    from observed
    window versions as (partition by customer_id order by invoiced_at)

),

customers as (

    select

        ---------- ids
        customer_id,

        ---------- text
        null::text as first_name,
        null::text as last_name,
        null::text as email,
        null::text as phone,
        null::text as address,
        null::text as city,
        null::text as state,
        null::text as zip_code,
        country,
        null::text as customer_segment,
        null::text as gender,
        null::text as acquisition_channel,

        ---------- booleans
        null::boolean as is_marketing_opt_in,

        ---------- dates and times
        null::date as registration_date,
        null::date as birth_date,
        invoiced_at as version_at,

        ---------- trail
        _file_id,
        _business_date,
        _path,
        _line_number

    from compared
    where version_number = 1 or country is distinct from country_before

)

select * from customers
