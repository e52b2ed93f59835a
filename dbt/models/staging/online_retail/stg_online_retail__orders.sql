with

lines as (

    select * from {{ ref('base_online_retail__lines') }}

),

numbered as (

    -- an invoice is what its first line says of it
    select
        *,
        sum(line_total) over (partition by order_id) as total_amount,
        row_number() over (
            partition by order_id
            order by invoiced_at, _business_date, _path collate "C", _line_number
        ) as line_position
    from lines

),

orders as (

    select

        ---------- ids
        order_id,
        customer_id,

        ---------- text
        order_type,
        -- nothing is known of it but its invoice
        'invoiced' as order_status,
        null::text as payment_method,
        null::text as shipping_method,
        {{ source_currency("'online_retail'") }} as currency,

        ---------- numbers
        -- postage comes as lines of its own, tax is not shown
        0::numeric as shipping_cost,
        0::numeric as tax_amount,
        total_amount,

        ---------- dates and times
        invoiced_at as ordered_at,
        (invoiced_at at time zone {{ source_time_zone("'online_retail'") }})::date as order_date,
        null::timestamptz as shipped_at,
        null::timestamptz as delivered_at,
        invoiced_at as version_at,

        ---------- trail
        _file_id,
        _business_date,
        _path,
        _line_number

    from numbered
    where line_position = 1

)

select * from orders
