{#- What a line is the key of: its order, what was given back of it on that day, its customer; items are replaced with
    their order. A branch for each, so that who asks for what no line is the key of reads no line. -#}
{%- set keys = [
    ('orders', 'order_id'),
    ('orders', sales_refund_id('order_id', 'sale_date')),
    ('customers', "nullif(btrim(customer_id), '')"),
] -%}

with

lines as (

    select * from {{ source('sales', 'sales') }}

),

files as not materialized (

    select * from {{ source('raw', 'load_ledger') }}
    where load_id is not null and source = 'sales'

),

removed_keys as (

    select * from {{ source('raw', 'removed_keys') }}
    where source = 'sales'

),

rejected_rows as (

    select * from {{ source('raw', 'rejected_rows') }}
    where source = 'sales'

),

all_keys as not materialized (

    select
        files.load_id,
        lines.order_id,
        lines.customer_id,
        lines.sale_date
    from lines
    inner join files
        on files.file_id = lines._file_id

    union all

    select
        load_id,
        keys ->> 'order_id',
        keys ->> 'customer_id',
        (keys ->> 'sale_date')::date
    from removed_keys

    union all

    select
        files.load_id,
        rejected_rows.keys ->> 'order_id',
        rejected_rows.keys ->> 'customer_id',
        (rejected_rows.keys ->> 'sale_date')::date
    from rejected_rows
    inner join files
        on files.file_id = rejected_rows.file_id

),

identified as (

    {% for entity, key in keys -%}
    select
        '{{ entity }}' as entity,
        {{ key }} as key,
        load_id
    from all_keys
    {% if not loop.last -%}
    union all
    {% endif -%}
    {%- endfor %}

),

touched as (

    select distinct
        entity,
        key,
        load_id
    from identified
    where key is not null

)

select * from touched
