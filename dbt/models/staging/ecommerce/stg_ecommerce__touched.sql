with

customers as (

    select * from {{ source('ecommerce', 'customers') }}

),

products as (

    select * from {{ source('ecommerce', 'products') }}

),

orders as (

    select * from {{ source('ecommerce', 'orders') }}

),

order_items as (

    select * from {{ source('ecommerce', 'order_items') }}

),

files as not materialized (

    select * from {{ source('raw', 'load_ledger') }}
    where load_id is not null and source = 'ecommerce'

),

removed_keys as (

    select * from {{ source('raw', 'removed_keys') }}
    where source = 'ecommerce'

),

rejected_rows as (

    select * from {{ source('raw', 'rejected_rows') }}
    where source = 'ecommerce'

),

delivered as (

    select _file_id, customer_id, null as product_id, null as order_id, null as order_item_id from customers
    union all
    select _file_id, null, product_id, null, null from products
    union all
    select _file_id, customer_id, null, order_id, null from orders
    union all
    select _file_id, null, product_id, order_id, order_item_id from order_items

),

all_keys as (

    select
        files.load_id,
        delivered.customer_id,
        delivered.product_id,
        delivered.order_id,
        delivered.order_item_id
    from delivered
    inner join files
        on files.file_id = delivered._file_id

    union all

    select
        load_id,
        keys ->> 'customer_id',
        keys ->> 'product_id',
        keys ->> 'order_id',
        keys ->> 'order_item_id'
    from removed_keys

    union all

    select
        files.load_id,
        rejected_rows.keys ->> 'customer_id',
        rejected_rows.keys ->> 'product_id',
        rejected_rows.keys ->> 'order_id',
        rejected_rows.keys ->> 'order_item_id'
    from rejected_rows
    inner join files
        on files.file_id = rejected_rows.file_id

),

touched as (

    select distinct
        touched.entity,
        touched.key,
        all_keys.load_id
    from all_keys
    cross join lateral (
        values
            ('customers', all_keys.customer_id),
            ('products', all_keys.product_id),
            ('orders', all_keys.order_id),
            ('order_items', all_keys.order_item_id)
    ) as touched (entity, key)
    where touched.key is not null

)

select * from touched
