with

order_items as (

    select * from {{ source('ecommerce', 'order_items') }}

),

files as (

    select * from {{ source('raw', 'load_ledger') }}

),

renamed as (

    select

        ---------- ids
        order_items.order_item_id,
        order_items.order_id,
        order_items.product_id,

        ---------- text
        'sale' as line_type,

        ---------- numbers
        order_items.quantity,
        order_items.unit_price,
        order_items.discount_amount,
        order_items.line_total,

        ---------- booleans
        false as is_duplicate,

        ---------- dates and times
        order_items.created_at,
        order_items.created_at as version_at,

        ---------- trail
        order_items._file_id,
        files.business_date as _business_date,
        files.path as _path,
        order_items._line_number

    from order_items
    inner join files
        on files.file_id = order_items._file_id

)

select * from renamed
