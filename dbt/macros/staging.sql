{#- Condition: whether a row's file was loaded after the mark of some model (for tests only). Staging is views over
    everything that ever arrived; a daily run tests what is new in them, a full one everything. The sources come
    as literals, so that a source without new files is not read. -#}
{%- macro is_newly_loaded(relation) -%}
    {%- if not execute -%}
        {%- do return('true') -%}
    {%- endif -%}
    {%- set query -%}
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
    {%- for row in run_query(query).rows -%}
        {%- if not is_of_one_source -%}
            {%- do conditions.append(
                "(source_system = '" ~ row['source'] ~ "' and _file_id in (" ~ row['file_ids'] ~ '))') -%}
        {%- elif row['source'] == own -%}
            {%- do conditions.append('_file_id in (' ~ row['file_ids'] ~ ')') -%}
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
