{#- Which keys a run of a model has to replace. See docs/decisions/0030-incremental-by-touched-keys.md. -#}

{#- Query: conformed keys of an entity that loads touched since the mark (columns source_system, key).

    Also those of loads after the run's frozen end, which the next run takes in once more: staging shows what lies
    in raw now, and a key of which one side is computed from it and the other is not would be there twice, or
    not at all (an item that moved from one order to another). Within a layer no load is committed. -#}
{%- macro touched_by_loads(window, entity) -%}
    {%- set touches = ref('stg_touched') -%}
    select source_system, key
    from {{ touches }}
    where entity = '{{ entity }}'
        and load_id > {{ window.load_id_from if window.load_id_from is defined else -1 }}
        and load_id <= {{ window.load_id_seen if window.load_id_seen is defined else 0 }}
{%- endmacro -%}


{#- Query: what a parent replaced within the window (columns source_system, key, customer_id, product_id, day,
    changed_from). -#}
{%- macro touched_by(window, parent) -%}
    {#- depends_on: the parent must be built first -#}
    {%- set relation = ref(parent) -%}
    select source_system, key, customer_id, product_id, day, changed_from
    from ops.touched
    where model = '{{ parent }}'
        and touched_seq > {{ window.touched_seq_from if window.touched_seq_from is defined else -1 }}
        and touched_seq <= {{ window.touched_seq_to if window.touched_seq_to is defined else 0 }}
        and key <> '*'
{%- endmacro -%}


{#- Collect a touched set in a temporary table, once per run.

    window:  what open_window() returned.
    columns: names of the set's columns, the first being source_system.
    keys:    SQL giving these columns (by name). Rows with a null among them are no keys and left out.
    days:    which of the columns are dates: always given to the planner as literals, for pruning.
    name:    of a second set that a model needs beside the one it replaces by; only the set without a name
             is the strategy's scope, so its columns must be columns of the model.
    is_joined: find the rows by a join to the set, and not by a list of each column's values: for keys of several columns
             whose values all occur on any day (pairs of products).
    is_looked_up: join, key by key, through indexes: for a model whose own index and whose parents' begin with the
             set's columns. The planner would take what is found for most of the table, and read and sort it all.

    Returns a mapping for is_touched(). -#}
{%- macro touched_keys(window, columns, keys, days=[], name=none, is_joined=false, is_looked_up=false) -%}
    {%- if window.is_everything or not execute -%}
        {%- do return({'mode': 'all', 'table': 'touched'}) -%}
    {%- endif -%}
    {%- set is_joined = is_joined or is_looked_up -%}
    {%- set touched = {'columns': columns, 'days': days, 'table': 'pg_temp.' ~ temporary_name(name or 'touched')} -%}
    {%- if window.is_nothing -%}
        {%- do touched.update({'mode': 'none'}) -%}
    {%- else -%}
        {#- Many keys are joined, not listed: see is_touched(). -#}
        {%- set create -%}
            drop table if exists {{ touched.table }};
            create temporary table {{ temporary_name(name or 'touched') }} as
            select distinct {{ columns | join(', ') }} from (
                {{ keys }}
            ) as touched
            where num_nulls({{ columns | join(', ') }}) = 0;
            analyze {{ touched.table }};
            select
                source_system,
                count(*) as row_count
                {%- for column in columns[1:] %},
                case
                    when {{ 'true' if column in days else 'false' if is_joined else 'count(distinct ' ~ column ~ ') <= 20000' }}
                        then to_json(array_agg(distinct {{ column }}::text))::text
                end as {{ column }}
                {%- endfor %}
            from {{ touched.table }} group by source_system order by source_system
        {%- endset -%}
        {%- set row_counts = [] -%}
        {%- do touched.update({'sources': {}}) -%}
        {%- for row in query(create) -%}
            {%- do row_counts.append(row.row_count | int) -%}
            {%- set lists = {} -%}
            {%- for column in columns[1:] if row[column] is not none -%}
                {%- do lists.update({column: fromjson(row[column])}) -%}
            {%- endfor -%}
            {%- do touched.sources.update({row.source_system: lists}) -%}
        {%- endfor -%}
        {%- set row_count = row_counts | sum -%}
        {#- the number decides whether plans may loop: a join may, and what is looked up has to (-1) -#}
        {%- do touched.update({'mode': 'some' if row_count else 'none', 'key_count': -1 if is_looked_up else 0 if is_joined else row_count}) -%}
    {%- endif -%}
    {%- if name is none and not window.is_nothing -%}
        {%- do run_query(
            'update pg_temp.' ~ temporary_name('window') ~ ' set scope = $scope$' ~ is_touched(touched) ~ '$scope$'
            ~ ', key_count = ' ~ touched.get('key_count', 0)
        ) -%}
    {%- endif -%}
    {%- do return(touched) -%}
{%- endmacro -%}


{#- Condition: whether a row belongs to the touched set.

    expressions: what stands for a column of the set in this query, where it is not called the same, e.g.
                 {'order_date': 'items.cancelled_date'}.
    columns:     only these columns of the set decide (default: all).

    Up to 20,000 keys are a literal array: the planner pushes it through views (and their window functions
    partitioned by the key) down to an index, or hashes it; dates prune partitions. More keys become a join. An
    array from a subquery would be searched from end to end for each row. -#}
{%- macro is_touched(touched, expressions={}, columns=none) -%}
    {%- if touched.mode == 'all' -%}
        true
    {%- elif touched.mode == 'none' -%}
        false
    {%- else -%}
        {%- set columns = columns or touched.columns -%}
        {%- set keys = columns[1:] -%}
        {%- set is_exact = [keys | length <= 1] -%}
        {%- set arms = [] -%}
        {%- for source_system, lists in touched.sources.items() -%}
            {%- set source = "'" ~ source_system | replace("'", "''") ~ "'" -%}
            {%- set terms = [(expressions.get(columns[0], columns[0])) ~ ' = ' ~ source] -%}
            {%- for column in keys -%}
                {%- set expression = expressions.get(column, column) -%}
                {%- set values = lists.get(column) -%}
                {%- if values is none -%}
                    {%- do is_exact.append(false) -%}
                {%- else -%}
                    {%- do terms.append(
                        expression ~ ' = any(' ~ array_literal(values, 'date' if column in touched.days else 'text') ~ ')') -%}
                {%- endif -%}
            {%- endfor -%}
            {%- do arms.append('(' ~ terms | join(' and ') ~ ')') -%}
        {%- endfor -%}
        {%- set names = [] -%}
        {%- for column in columns -%}{%- do names.append(expressions.get(column, column)) -%}{%- endfor -%}
        ({{ arms | join(' or ') }})
        {%- if false in is_exact %}
        and ({{ names | join(', ') }}) in (select {{ columns | join(', ') }} from {{ touched.table }})
        {%- endif -%}
    {%- endif -%}
{%- endmacro -%}


{#- A constant array. -#}
{%- macro array_literal(values, type='text') -%}
    {%- set items = [] -%}
    {%- for value in values -%}
        {%- do items.append('"' ~ (value | string | replace('\\', '\\\\') | replace('"', '\\"') | replace("'", "''")) ~ '"') -%}
    {%- endfor -%}
    '{ {{- items | join(',') -}} }'::{{ type }}[]
{%- endmacro -%}
