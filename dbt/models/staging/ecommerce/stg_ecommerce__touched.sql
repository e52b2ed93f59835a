{#- Entity of a file, what its columns are the key of, and the columns. A branch for each, and not all keys in one row:
    who asks for one entity then reads only the files that name it, and the many events for their sessions alone. -#}
{%- set keys = [
    ('customers', 'customers', ['customer_id']),
    ('orders', 'customers', ['customer_id']),
    ('products', 'products', ['product_id']),
    ('order_items', 'products', ['product_id']),
    ('orders', 'orders', ['order_id']),
    ('order_items', 'orders', ['order_id']),
    ('order_items', 'order_items', ['order_item_id']),
    ('payments', 'payments', ['payment_id']),
    ('payments', 'paid_orders', ['order_id']),
    ('returns', 'returns', ['return_id']),
    ('returns', 'returned_order_items', ['order_item_id']),
    ('inventory', 'inventory', ['product_id', 'snapshot_date']),
    ('web_events', 'web_events', ['event_id']),
    ('web_events', 'sessions', ['session_id']),
    ('marketing_spend', 'marketing_spend', ['spend_date', 'channel', 'campaign']),
] -%}
{#- as staging spells them -#}
{%- set normalised = ['channel', 'campaign'] -%}

with

files as not materialized (

    select * from {{ source('raw', 'load_ledger') }}
    where load_id is not null and source = 'ecommerce'

),

kept_keys as not materialized (

    -- of rows that were taken out, and of rows that were rejected
    select
        entity,
        keys,
        load_id
    from {{ source('raw', 'removed_keys') }}
    where source = 'ecommerce'

    union all

    select
        rejected_rows.entity,
        rejected_rows.keys,
        files.load_id
    from {{ source('raw', 'rejected_rows') }} as rejected_rows
    inner join files
        on files.file_id = rejected_rows.file_id
    where rejected_rows.source = 'ecommerce'

),

all_keys as (

    {% for entity, identified, columns in keys -%}
    {%- set delivered_key, kept_key = [], [] -%}
    {%- for column in columns -%}
        {%- set kept = "keys ->> '" ~ column ~ "'" -%}
        {%- set delivered = 'delivered.' ~ column -%}
        {%- if column.endswith('_date') -%}
            {%- set delivered = 'to_char(' ~ delivered ~ ", 'YYYY-MM-DD')" -%}
        {%- endif -%}
        {%- do delivered_key.append('lower(btrim(' ~ delivered ~ '))' if column in normalised else delivered) -%}
        {%- do kept_key.append('lower(btrim(' ~ kept ~ '))' if column in normalised else '(' ~ kept ~ ')') -%}
    {%- endfor -%}
    select
        '{{ identified }}' as entity,
        {{ delivered_key | join(" || '|' || ") }} as key,
        files.load_id
    from {{ source('ecommerce', entity) }} as delivered
    inner join files
        on files.file_id = delivered._file_id

    union all

    select
        '{{ identified }}',
        {{ kept_key | join(" || '|' || ") }},
        load_id
    from kept_keys
    where entity = '{{ entity }}'

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
    from all_keys
    where key is not null

)

select * from touched
