with

lines as (

    select * from {{ source('online_retail', 'lines') }}

),

files as not materialized (

    select * from {{ source('raw', 'load_ledger') }}
    where load_id is not null and source = 'online_retail'

),

removed_keys as (

    select * from {{ source('raw', 'removed_keys') }}
    where source = 'online_retail'

),

rejected_rows as (

    select * from {{ source('raw', 'rejected_rows') }}
    where source = 'online_retail'

),

all_keys as (

    select
        files.load_id,
        lines.invoice_no,
        lines.stock_code,
        lines.customer_id
    from lines
    inner join files
        on files.file_id = lines._file_id

    union all

    select
        load_id,
        keys ->> 'invoice_no',
        keys ->> 'stock_code',
        keys ->> 'customer_id'
    from removed_keys

    union all

    select
        files.load_id,
        rejected_rows.keys ->> 'invoice_no',
        rejected_rows.keys ->> 'stock_code',
        rejected_rows.keys ->> 'customer_id'
    from rejected_rows
    inner join files
        on files.file_id = rejected_rows.file_id

),

touched as (

    -- items are replaced with their order
    select distinct
        touched.entity,
        touched.key,
        all_keys.load_id
    from all_keys
    cross join lateral (
        values
            ('orders', all_keys.invoice_no),
            ('products', all_keys.stock_code),
            ('customers', nullif(split_part(all_keys.customer_id, '.', 1), ''))
    ) as touched (entity, key)
    where touched.key is not null

)

select * from touched
