with

lines as (

    select * from {{ ref('base_sales__lines') }}

),

items as (

    select

        ---------- ids
        order_item_id,
        order_id,
        null::text as product_id,

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
        sold_at as created_at,
        sold_at as version_at,

        ---------- trail
        _file_id,
        _business_date,
        _path,
        _line_number

    from lines

)

select * from items
