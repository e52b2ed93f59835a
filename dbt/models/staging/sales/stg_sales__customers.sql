with

lines as (

    select * from {{ ref('base_sales__lines') }}

),

customers as (

    -- nothing is known of them but that they bought: from their first line on
    select distinct on (customer_id)

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
        null::text as country,
        null::text as customer_segment,
        null::text as gender,
        null::text as acquisition_channel,

        ---------- booleans
        null::boolean as is_marketing_opt_in,

        ---------- dates and times
        null::date as registration_date,
        null::date as birth_date,
        sold_at as version_at,

        ---------- trail
        _file_id,
        _business_date,
        _path,
        _line_number

    from lines
    where customer_id is not null
    order by customer_id, sold_at, _business_date, _path collate "C", _line_number

)

select * from customers
