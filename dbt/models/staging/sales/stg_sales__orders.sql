with

lines as (

    select * from {{ ref('base_sales__lines') }}

),

numbered as (

    -- an order is what its first line says of it, by values, so that no order of arrival matters; a line
    -- that names its customer says more than one that does not
    select
        *,
        sum(line_total) over (partition by order_id) as total_amount,
        min(sold_at) over (partition by order_id) as ordered_at,
        row_number() over (
            partition by order_id
            order by
                customer_id is null, sold_at, customer_id collate "C",
                _business_date, _path collate "C", _line_number
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
        -- nothing is known of it but its amounts
        'invoiced' as order_status,
        null::text as payment_method,
        null::text as shipping_method,
        {{ source_currency("'sales'") }} as currency,

        ---------- numbers
        0::numeric as shipping_cost,
        0::numeric as tax_amount,
        total_amount,

        ---------- dates and times
        ordered_at,
        (ordered_at at time zone {{ source_time_zone("'sales'") }})::date as order_date,
        null::timestamptz as shipped_at,
        null::timestamptz as delivered_at,
        ordered_at as version_at,

        ---------- trail
        _file_id,
        _business_date,
        _path,
        _line_number

    from numbered
    where line_position = 1

)

select * from orders
