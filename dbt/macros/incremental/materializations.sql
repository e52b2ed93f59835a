{#- dbt's materializations, doing nothing where nothing is to be done: a run asks the server as little as it can, as most of
    what a small day costs is asking. Comments, grants, indexes, views and seeds are applied anew only when they changed. -#}

{#- An incremental model, by the strategies of strategies.sql. In full: dbt's way. Else one look at what is there and
    what was touched, and nothing more where nothing was. -#}
{%- materialization incremental, adapter='postgres' -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='table') -%}
    {%- set strategy = config.get('incremental_strategy') -%}
    {%- if strategy not in ['touched_keys', 'changed_rows'] -%}
        {%- do exceptions.raise_compiler_error(
            this ~ ": incremental_strategy is touched_keys or changed_rows, not " ~ strategy ~ '.') -%}
    {%- endif -%}
    {%- if not model.columns -%}
        {%- do exceptions.raise_compiler_error(this ~ ": an incremental model names its columns and their types in yml.") -%}
    {%- endif -%}
    {%- set window = none -%}
    {%- if existing is not none and existing.is_table and not should_full_refresh() -%}
        {%- set window = open_window(sql) if strategy == 'changed_rows' else read_window() -%}
    {%- endif -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {%- set to_drop = [] -%}
    {%- if window is not none and not window.has_other_shape -%}
        {{ run_hooks(pre_hooks, inside_transaction=True) }}
        {%- set dml = replace_changed_rows(target, window, sql) -%}
        {%- call statement('main') -%}
            {{ dml }}
        {%- endcall -%}
        {%- if window.has_other_attributes -%}
            {%- do apply_attributes(target, should_revoke=true) -%}
        {%- endif -%}
    {%- else -%}
        {%- set intermediate = make_intermediate_relation(target) -%}
        {%- set backup = make_backup_relation(target, 'table' if existing is none else existing.type) -%}
        {{ drop_relation_if_exists(load_cached_relation(intermediate)) }}
        {{ drop_relation_if_exists(load_cached_relation(backup)) }}
        {{ run_hooks(pre_hooks, inside_transaction=True) }}
        {%- set built = target if existing is none else intermediate -%}
        {%- call statement('main') -%}
            {{ get_create_table_as_sql(False, built, sql) }}
        {%- endcall -%}
        {%- if existing is not none -%}
            {%- do adapter.rename_relation(target, backup) -%}
            {%- do adapter.rename_relation(intermediate, target) -%}
            {%- do to_drop.append(backup) -%}
        {%- endif -%}
        {%- do apply_attributes(target, should_revoke=should_revoke(existing, full_refresh_mode=True)) -%}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do adapter.commit() -%}
    {%- for relation in to_drop -%}
        {%- do adapter.drop_relation(relation) -%}
    {%- endfor -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target]}) }}
{%- endmaterialization -%}


{#- dbt gives an index another name each time, so `create index if not exists` would make it again. -#}
{%- macro create_missing_indexes(relation) -%}
    {%- set there -%}
        select
            pg_index.indisunique as is_unique,
            string_agg(pg_attribute.attname, ',' order by keys.place) as columns
        from pg_index
        cross join lateral unnest(pg_index.indkey::int2[]) with ordinality as keys (attnum, place)
        inner join pg_attribute
            on pg_index.indrelid = pg_attribute.attrelid
            and keys.attnum = pg_attribute.attnum
        where pg_index.indrelid = '{{ relation }}'::regclass
        group by pg_index.indexrelid, pg_index.indisunique
    {%- endset -%}
    {%- set found = [] -%}
    {%- for index in query(there) -%}
        {%- do found.append((index.is_unique, index.columns)) -%}
    {%- endfor -%}
    {%- for index in config.get('indexes', []) if (index.get('unique', false), index.columns | join(',')) not in found -%}
        {%- do run_query(get_create_index_sql(relation, index)) -%}
    {%- endfor -%}
{%- endmacro -%}


{#- A view is made anew when its query, comments or grants changed, or when it is not there. -#}
{%- materialization view, adapter='postgres' -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set digest = local_md5(sql ~ attributes()) -%}
    {%- if existing is not none and existing.is_view and is_applied(digest) -%}
        {%- call noop_statement('main', 'UNCHANGED', 'UNCHANGED', 0) -%}
            -- {{ this }} is what it was
        {%- endcall -%}
        {{ return({'relations': [existing]}) }}
    {%- endif -%}
    {#- In the transaction that makes the view: dbt's own begins with the first statement. -#}
    {%- do run_query(record_applied(digest)) -%}
    {{ return(dbt.materialization_view_default()) }}
{%- endmaterialization -%}


{#- A seed is loaded anew when its file, column types, comments or grants changed, or when it is not there. -#}
{%- materialization seed, adapter='postgres' -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set digest = local_md5(seed_content() ~ attributes()) -%}
    {%- if existing is not none and existing.is_table and is_applied(digest) -%}
        {#- dbt asks for it to be able to show it -#}
        {%- do store_result('agate_table', response='OK', agate_table=load_agate_table()) -%}
        {%- call noop_statement('main', 'UNCHANGED', 'UNCHANGED', 0) -%}
            -- {{ this }} is what it was
        {%- endcall -%}
        {{ return({'relations': [existing]}) }}
    {%- endif -%}
    {%- do run_query(record_applied(digest)) -%}
    {{ return(dbt.materialization_seed_default()) }}
{%- endmaterialization -%}


{#- What a seed's rows and their types are made from. -#}
{%- macro seed_content() -%}
    {%- do return(model.checksum.checksum ~ tojson(config.get('column_types', {}), sort_keys=true)) -%}
{%- endmacro -%}


{#- What a relation has beside its rows, as text: comments, grants, indexes. -#}
{%- macro attributes() -%}
    {%- set said = {
        'grants': config.get('grants', {}), 'indexes': config.get('indexes', []), 'description': model.description, 'columns': {},
    } -%}
    {%- for column in model.columns.values() -%}
        {%- do said.columns.update({column.name: column.description ~ (' (pii)' if is_personal(column) else '')}) -%}
    {%- endfor -%}
    {%- do return(tojson(said, sort_keys=true)) -%}
{%- endmacro -%}


{#- Whether the relation was last made from this, and may be left as it is. -#}
{%- macro is_applied(digest) -%}
    {%- if should_full_refresh() -%}
        {%- do return(false) -%}
    {%- endif -%}
    {%- do return(query_value('select ' ~ has_digest(digest))) -%}
{%- endmacro -%}


{#- SQL expression: whether the relation was last made from this. -#}
{%- macro has_digest(digest) -%}
    exists (select from ops.applied_definitions where model = '{{ this.identifier }}' and digest = '{{ digest }}')
{%- endmacro -%}


{#- SQL that keeps what the relation is made from. -#}
{%- macro record_applied(digest) -%}
    insert into ops.applied_definitions (model, digest) values ('{{ this.identifier }}', '{{ digest }}')
    on conflict (model) do update set digest = excluded.digest, applied_at = default
{%- endmacro -%}


{#- Comments and grants of a table, indexes it lacks, and that they were applied, in the table's transaction. -#}
{%- macro apply_attributes(relation, should_revoke) -%}
    {%- do create_missing_indexes(relation) -%}
    {%- do apply_grants(relation, config.get('grants'), should_revoke=should_revoke) -%}
    {%- do persist_docs(relation, model) -%}
    {%- do run_query(record_applied(local_md5(attributes()))) -%}
{%- endmacro -%}


{#- Whether a column says directly who somebody is (meta pii, as the contracts' classification). -#}
{%- macro is_personal(column) -%}
    {%- do return(column.get('config', {}).get('meta', {}).get('pii') == 'direct') -%}
{%- endmacro -%}


{#- dbt's grants, and then nobody but pii_reader has the columns with personal data (docs/decisions/0063-security.md). -#}
{%- macro postgres__apply_grants(relation, grant_config, should_revoke) -%}
    {%- do dbt.default__apply_grants(relation, grant_config, should_revoke) -%}
    {%- set readers = [] -%}
    {%- for reader in (grant_config or {}).get('select', []) if reader in ['analyst', 'api'] -%}
        {%- do readers.append(reader) -%}
    {%- endfor -%}
    {%- set shown = [] -%}
    {%- for column in model.columns.values() if not is_personal(column) -%}
        {%- do shown.append(adapter.quote(column.name)) -%}
    {%- endfor -%}
    {%- if readers and shown | length < model.columns | length -%}
        {%- do run_query(
            'revoke select on ' ~ relation ~ ' from ' ~ readers | join(', ') ~ '; grant select (' ~ shown | join(', ') ~ ') on '
            ~ relation ~ ' to ' ~ readers | join(', ')
        ) -%}
    {%- endif -%}
    {%- if relation.schema == 'warehouse' -%}
        {%- do run_query("select ops.mask('" ~ relation ~ "'::regclass)") -%}
    {%- endif -%}
{%- endmacro -%}


{#- Comments of a relation and its columns in one statement. dbt asks for the columns first, to pass over what the yml
    describes and the relation does not have; here that is an error. -#}
{%- macro postgres__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- set comments = [] -%}
    {%- if for_relation and config.persist_relation_docs() and model.description -%}
        {%- do comments.append(alter_relation_comment(relation, model.description)) -%}
    {%- endif -%}
    {%- if for_columns and config.persist_column_docs() -%}
        {%- for column in model.columns.values() -%}
            {%- do comments.append(
                'comment on column ' ~ relation ~ '.' ~ adapter.quote(column.name) ~ ' is ' ~ postgres_escape_comment(column.description)
            ) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if comments -%}
        {%- do run_query(comments | join(';\n')) -%}
    {%- endif -%}
{%- endmacro -%}
