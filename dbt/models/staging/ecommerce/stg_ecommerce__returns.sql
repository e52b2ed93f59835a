with

returns as (

    select * from {{ source('ecommerce', 'returns') }}

),

files as (

    select * from {{ source('raw', 'load_ledger') }}

),

renamed as (

    select

        ---------- ids
        returns.return_id,
        returns.order_item_id,

        ---------- text
        returns.reason as return_reason,

        ---------- numbers
        returns.quantity,
        returns.refund_amount,

        ---------- dates and times
        returns.returned_at,
        (returns.returned_at at time zone {{ source_time_zone("'ecommerce'") }})::date as returned_date,
        returns.returned_at as version_at,

        ---------- trail
        returns._file_id,
        files.business_date as _business_date,
        files.path as _path,
        returns._line_number

    from returns
    inner join files
        on files.file_id = returns._file_id

)

select * from renamed
