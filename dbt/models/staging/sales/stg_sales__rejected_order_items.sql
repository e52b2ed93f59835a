with

rejected_rows as (

    select * from {{ source('raw', 'rejected_rows') }}
    where source = 'sales' and entity = 'sales'

),

files as (

    -- of each path the version in effect: a newer one that was refused leaves what this one lacks as it is
    select distinct on (path) *
    from {{ source('raw', 'load_ledger') }}
    where load_id is not null and source = 'sales' and entity = 'sales'
    order by path asc, version desc

),

rejected_order_items as (

    select
        rejected_rows.keys ->> 'order_id' as order_id,
        count(*) as rejected_count
    from rejected_rows
    inner join files
        on files.file_id = rejected_rows.file_id
    where
        rejected_rows.resolved_by is null
        and rejected_rows.keys ->> 'order_id' is not null
    group by rejected_rows.keys ->> 'order_id'

)

select * from rejected_order_items
