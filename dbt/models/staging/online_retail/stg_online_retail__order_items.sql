with

lines as (

    select * from {{ ref('base_online_retail__lines') }}

),

items as (

    select

        ---------- ids
        order_item_id,
        order_id,
        product_id,

        ---------- text
        line_type,

        ---------- numbers
        quantity,
        unit_price,
        0::numeric as discount_amount,
        line_total,

        ---------- booleans
        is_duplicate,

        ---------- dates and times
        invoiced_at as created_at,
        invoiced_at as version_at,

        ---------- trail
        _file_id,
        _business_date,
        _path,
        _line_number

    from lines

)

select * from items
