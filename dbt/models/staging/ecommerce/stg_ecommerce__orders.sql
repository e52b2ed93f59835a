with

orders as (

    select * from {{ source('ecommerce', 'orders') }}

),

files as (

    select * from {{ source('raw', 'load_ledger') }}

),

renamed as (

    select

        ---------- ids
        orders.order_id,
        orders.customer_id,

        ---------- text
        'sale' as order_type,
        orders.order_status,
        orders.payment_method,
        orders.shipping_method,
        orders.currency,

        ---------- numbers
        orders.shipping_cost,
        orders.tax_amount,
        orders.total_amount,

        ---------- dates and times
        orders.created_at as ordered_at,
        orders.order_date,
        orders.shipped_at,
        orders.delivered_at,
        orders.updated_at as version_at,

        ---------- trail
        orders._file_id,
        files.business_date as _business_date,
        files.path as _path,
        orders._line_number

    from orders
    inner join files
        on files.file_id = orders._file_id

)

select * from renamed
