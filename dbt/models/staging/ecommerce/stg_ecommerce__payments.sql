with

payments as (

    select * from {{ source('ecommerce', 'payments') }}

),

files as (

    select * from {{ source('raw', 'load_ledger') }}

),

renamed as (

    select

        ---------- ids
        payments.payment_id,
        payments.order_id,

        ---------- text
        payments.method as payment_method,
        payments.status as payment_status,

        ---------- numbers
        payments.amount,

        ---------- dates and times
        payments.paid_at,
        (payments.paid_at at time zone {{ source_time_zone("'ecommerce'") }})::date as paid_date,
        payments.paid_at as version_at,

        ---------- trail
        payments._file_id,
        files.business_date as _business_date,
        files.path as _path,
        payments._line_number

    from payments
    inner join files
        on files.file_id = payments._file_id

)

select * from renamed
