with

inventory as (

    select * from {{ source('ecommerce', 'inventory') }}

),

files as (

    select * from {{ source('raw', 'load_ledger') }}

),

renamed as (

    select

        ---------- ids
        inventory.product_id,

        ---------- numbers
        inventory.on_hand as on_hand_quantity,
        inventory.received as received_quantity,
        inventory.sold as sold_quantity,

        ---------- dates and times
        inventory.snapshot_date,
        inventory.snapshot_date::timestamp at time zone {{ source_time_zone("'ecommerce'") }} as version_at,

        ---------- trail
        inventory._file_id,
        files.business_date as _business_date,
        files.path as _path,
        inventory._line_number

    from inventory
    inner join files
        on files.file_id = inventory._file_id

)

select * from renamed
