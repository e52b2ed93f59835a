{#- What the columns of a line are the keys of; items are replaced with their order. A branch for each, so that who asks
    for what no line is the key of reads no line. -#}
{%- set keys = [
    ('orders', 'invoice_no'),
    ('products', 'stock_code'),
    ('customers', "nullif(split_part(customer_id, '.', 1), '')"),
] -%}

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

all_keys as not materialized (

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
