{#- Condition: whether a row's file was loaded after the mark of some model (for tests only). Staging is views over
    everything that ever arrived; a daily run tests what is new in them, a full one everything. The sources come
    as literals, so that a source without new files is not read. -#}
{%- macro is_newly_loaded(relation) -%}
    {%- if not execute -%}
        {%- do return('true') -%}
    {%- endif -%}
    {%- set newly_loaded -%}
        select source, array_to_string(array_agg(file_id order by file_id), ', ') as file_ids
        from {{ source('raw', 'load_ledger') }}
        where load_id > (select coalesce(min(load_id), 0) from {{ source('ops', 'model_marks') }})
        group by source
        order by source
    {%- endset -%}
    {#- stg_<source>__<entity> is about one source, stg_<entity> about all -#}
    {%- set own = relation.identifier.split('__')[0].split('_')[1:] | join('_') -%}
    {%- set is_of_one_source = '__' in relation.identifier -%}
    {%- set conditions = [] -%}
    {%- for row in query(newly_loaded) -%}
        {%- if not is_of_one_source -%}
            {%- do conditions.append(
                "(source_system = '" ~ row.source ~ "' and _file_id in (" ~ row.file_ids ~ '))') -%}
        {%- elif row.source == own -%}
            {%- do conditions.append('_file_id in (' ~ row.file_ids ~ ')') -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do return('(' ~ conditions | join(' or ') ~ ')' if conditions else 'false') -%}
{%- endmacro -%}


{#- SQL: the value of a parameter of an address, trimmed and in lower case; null where it is missing or empty. -#}
{%- macro url_parameter(url, name) -%}
    nullif(lower(btrim(substring({{ url }} from '[?&]{{ name }}=([^&#]*)'))), '')
{%- endmacro -%}


{#- SQL: the host of an address, in lower case, without its port; null where there is none. -#}
{%- macro url_host(url) -%}
    lower(substring({{ url }} from '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/:?#]+)'))
{%- endmacro -%}


{#- Query of a shop's `rejected_order_items`: how many of an order's lines lie rejected and unsettled.

    entity:    whose rows the lines are.
    order_key: the key of theirs that names the order. -#}
{%- macro rejected_order_items(source_system, entity, order_key) -%}
with

rejected_rows as (

    select * from {{ source('raw', 'rejected_rows') }}
    where source = '{{ source_system }}' and entity = '{{ entity }}'

),

files as (

    -- of each path the version in effect: a newer one that was refused leaves what this one lacks as it is
    select distinct on (path) *
    from {{ source('raw', 'load_ledger') }}
    where load_id is not null and source = '{{ source_system }}' and entity = '{{ entity }}'
    order by path asc, version desc

),

rejected_order_items as (

    select
        rejected_rows.keys ->> '{{ order_key }}' as order_id,
        count(*) as rejected_count
    from rejected_rows
    inner join files
        on files.file_id = rejected_rows.file_id
    where
        rejected_rows.resolved_by is null
        and rejected_rows.keys ->> '{{ order_key }}' is not null
    group by rejected_rows.keys ->> '{{ order_key }}'

)

select * from rejected_order_items
{%- endmacro -%}


{#- Query of the `touched` of a shop whose only files are lines: what a line is the key of; items are replaced with
    their order. A branch for each key, so that who asks for what no line is the key of reads no line.

    entity:  the lines.
    columns: those the keys are made from, each with what it is cast to where it is no text.
    keys:    [(what it is the key of, expression of the columns)]. -#}
{%- macro touched_by_lines(source_system, entity, columns, keys) -%}
with

lines as (

    select * from {{ source(source_system, entity) }}

),

files as not materialized (

    select * from {{ source('raw', 'load_ledger') }}
    where load_id is not null and source = '{{ source_system }}'

),

removed_keys as (

    select * from {{ source('raw', 'removed_keys') }}
    where source = '{{ source_system }}'

),

rejected_rows as (

    select * from {{ source('raw', 'rejected_rows') }}
    where source = '{{ source_system }}'

),

all_keys as not materialized (

    select
        files.load_id
        {%- for column in columns %},
        lines.{{ column }}
        {%- endfor %}
    from lines
    inner join files
        on files.file_id = lines._file_id

    union all

    select
        load_id
        {%- for column, type in columns.items() %},
        {{ kept_key('keys', column, type) }}
        {%- endfor %}
    from removed_keys

    union all

    select
        files.load_id
        {%- for column, type in columns.items() %},
        {{ kept_key('rejected_rows.keys', column, type) }}
        {%- endfor %}
    from rejected_rows
    inner join files
        on files.file_id = rejected_rows.file_id

),

identified as (

    {% for named, key in keys -%}
    select
        '{{ named }}' as entity,
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
{%- endmacro -%}


{#- A key as it is kept of rows that are gone or were rejected. -#}
{%- macro kept_key(keys, column, type) -%}
    {%- if type -%}({{ keys }} ->> '{{ column }}')::{{ type }}{%- else -%}{{ keys }} ->> '{{ column }}'{%- endif -%}
{%- endmacro -%}
