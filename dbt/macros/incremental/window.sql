{#- The window of a model's run: what was touched since its mark, seen once and kept in a temporary table, so
    that the model's query and the strategy's DML (and a retry of neither alone) act on the same set. -#}

{#- Name of a temporary table of this model's run. -#}
{%- macro temporary_name(purpose) -%}
    {#- in a unit test there is no `this` -#}
    {{ ((this.identifier if this else model.name)[:44] ~ '__' ~ purpose) }}
{%- endmacro -%}


{#- What the model is made from, found in the project's graph through views: the incremental models nearest to
    it (its parents), seeds, whether it reads loads (sources), the code of the views between, and the macros that
    it and these views call. -#}
{%- macro lineage() -%}
    {%- set found = {
        'parents': [], 'seeds': [], 'codes': [model.raw_code], 'macros': model.depends_on.macros | list,
        'reads_loads': false,
    } -%}
    {%- set seen = [] -%}
    {%- set queue = model.depends_on.nodes | list -%}
    {%- for name in queue -%}
        {%- if name not in seen -%}
            {%- do seen.append(name) -%}
            {%- if name.startswith('source.') -%}
                {%- do found.update({'reads_loads': true}) -%}
            {%- elif name in graph.nodes -%}
                {%- set node = graph.nodes[name] -%}
                {%- if node.resource_type == 'seed' -%}
                    {%- do found.seeds.append(node.name) -%}
                {%- elif node.config.materialized == 'incremental' -%}
                    {%- do found.parents.append(node.name) -%}
                {%- else -%}
                    {%- do found.codes.append(node.raw_code) -%}
                    {%- do found.macros.extend(node.depends_on.macros) -%}
                    {%- do queue.extend(node.depends_on.nodes) -%}
                {%- endif -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do return(found) -%}
{%- endmacro -%}


{#- SQL expression: a digest of what decides about a model's rows besides the data: its code, that of the views it reads
    through, the project's macros they call, and its seeds. When it changed, everything counts as touched. -#}
{%- macro definition(lineage, compiled_sql) -%}
    {%- set parts = (lineage.codes | sort) + macro_codes(lineage.macros) + [compiled_sql or ''] -%}
    {%- set code = "'" ~ local_md5(parts | join('\n--\n')) ~ "'" -%}
    {%- if not lineage.seeds -%}
        {%- do return(code) -%}
    {%- endif -%}
    md5({{ code }} || (
        select coalesce(string_agg(digest, ',' order by model), '') from ops.applied_definitions
        where model in ({% for seed in lineage.seeds | unique %}'{{ seed }}'{{ ', ' if not loop.last }}{% endfor %})
    ))
{%- endmacro -%}


{#- The code of macros, and of those they call: the project's own, by name. -#}
{%- macro macro_codes(unique_ids) -%}
    {%- set codes = {} -%}
    {%- set own = 'macro.' ~ project_name ~ '.' -%}
    {%- set queue = unique_ids | list -%}
    {%- for unique_id in queue -%}
        {%- set name = unique_id.split('.')[2] -%}
        {%- if unique_id.startswith(own) and name not in codes -%}
            {%- set found = context[project_name][name].macro -%}
            {%- do codes.update({name: found.macro_sql}) -%}
            {%- do queue.extend(found.depends_on.macros) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do return(codes.values() | sort) -%}
{%- endmacro -%}


{#- Open the window of this run. To be called once, before anything else of a model's touched set.

    Returns a mapping: load_id_from, load_id_to, load_id_seen (of the loads), touched_seq_from, touched_seq_to (of the
    parents' ops.touched), is_everything, is_nothing, has_other_shape (the table must be built in full),
    has_other_attributes (its comments, grants or indexes are not those the model says). In a full build there is no window:
    is_everything. -#}
{%- macro open_window(compiled_sql=none) -%}
    {%- if not execute or not is_incremental() -%}
        {%- do return({'is_everything': true, 'is_nothing': false}) -%}
    {%- endif -%}
    {%- set lineage = lineage() -%}
    {%- set definition = definition(lineage, compiled_sql) -%}
    {%- set parents -%}
        array[{% for parent in lineage.parents %}'{{ parent }}'{{ ', ' if not loop.last }}{% endfor %}]::text[]
    {%- endset -%}
    {%- set open -%}
        drop table if exists pg_temp.{{ temporary_name('window') }};
        create temporary table {{ temporary_name('window') }} as
        with own as (
            select load_id, touched_seq, definition from ops.model_marks where model = '{{ this.identifier }}'
        ),

        bounds as (
            select
                coalesce((select load_id from own), -1) as load_id_from,
                coalesce((select touched_seq from own), -1) as touched_seq_from,
                -- no model passes the run's frozen end, nor the marks of its parents
                greatest(
                    coalesce((select load_id from own), -1),
                    least(
                        coalesce((select load_id_to from ops.current_run), 0),
                        (select min(load_id) from ops.model_marks where model = any({{ parents }}))
                    )
                ) as load_id_to,
                -- what lies in raw now: see touched_by_loads()
                coalesce((select max(load_id) from raw.load_ledger), 0) as load_id_seen,
                coalesce((select max(touched_seq) from ops.touched), 0) as touched_seq_to,
                {{ definition }} as definition,
                (select definition from own) as own_definition,
                {{ has_other_shape() }} as has_other_shape,
                not {{ has_digest(local_md5(attributes())) }} as has_other_attributes
        ),

        parents as (
            select
                count(*) as touched_count,
                coalesce(bool_or(touched.key = '*'), false) as has_everything
            from bounds
            inner join ops.touched
                on touched.touched_seq > bounds.touched_seq_from
                and touched.touched_seq <= bounds.touched_seq_to
            where touched.model = any({{ parents }})
        )

        select
            bounds.load_id_from,
            bounds.load_id_to,
            bounds.load_id_seen,
            bounds.touched_seq_from,
            greatest(bounds.touched_seq_from, bounds.touched_seq_to) as touched_seq_to,
            changes.is_redefined or parents.has_everything as is_everything,
            not changes.is_redefined
            and parents.touched_count = 0
            and (bounds.load_id_seen <= bounds.load_id_from or not {{ lineage.reads_loads }}) as is_nothing,
            bounds.definition,
            bounds.has_other_shape,
            bounds.has_other_attributes,
            'true'::text as scope,
            0 as key_count
        from bounds
        cross join lateral (
            select bounds.has_other_shape or coalesce(bounds.own_definition, '') <> bounds.definition as is_redefined
        ) as changes
        cross join parents;
        select * from pg_temp.{{ temporary_name('window') }}
    {%- endset -%}
    {%- do return(window_of(query(open)[0])) -%}
{%- endmacro -%}


{#- The window that was opened for this run of the model. -#}
{%- macro read_window() -%}
    {%- do return(window_of(query('select * from pg_temp.' ~ temporary_name('window'))[0])) -%}
{%- endmacro -%}


{%- macro window_of(row) -%}
    {%- do return({
        'load_id_from': row.load_id_from | int,
        'load_id_to': row.load_id_to | int,
        'load_id_seen': row.load_id_seen | int,
        'touched_seq_from': row.touched_seq_from | int,
        'touched_seq_to': row.touched_seq_to | int,
        'is_everything': row.is_everything,
        'is_nothing': row.is_nothing,
        'has_other_shape': row.has_other_shape,
        'has_other_attributes': row.has_other_attributes,
        'scope': row.scope,
        'key_count': row.key_count | int,
    }) -%}
{%- endmacro -%}


{#- SQL that moves the model's mark to the end of its window. Belongs to the transaction of its DML. -#}
{%- macro move_mark() -%}
    insert into ops.model_marks (model, load_id, touched_seq, definition)
    select '{{ this.identifier }}', load_id_to, touched_seq_to, definition
    from pg_temp.{{ temporary_name('window') }}
    on conflict (model) do update set
        load_id = excluded.load_id,
        touched_seq = excluded.touched_seq,
        definition = excluded.definition,
        moved_at = clock_timestamp();
{%- endmacro -%}


{#- SQL that goes with a full build: the mark, and one entry that says "everything" to the children. -#}
{%- macro record_full_build(compiled_sql) -%}
    {%- set lineage = lineage() -%}
    {%- set code = compiled_sql if config.get('incremental_strategy') == 'changed_rows' else none -%}
    {%- set parents -%}
        array[{% for parent in lineage.parents %}'{{ parent }}'{{ ', ' if not loop.last }}{% endfor %}]::text[]
    {%- endset -%}
    with mark as (
        insert into ops.model_marks (model, load_id, touched_seq, definition)
        select
            '{{ this.identifier }}',
            least(
                coalesce((select load_id_to from ops.current_run), 0),
                (select min(load_id) from ops.model_marks where model = any({{ parents }}))
            ),
            coalesce((select max(touched_seq) from ops.touched), 0),
            {{ definition(lineage, code) }}
        on conflict (model) do update set
            load_id = excluded.load_id,
            touched_seq = excluded.touched_seq,
            definition = excluded.definition,
            moved_at = clock_timestamp()
        returning load_id
    )

    insert into ops.touched (model, load_id, key)
    select '{{ this.identifier }}', load_id, '*' from mark;
{%- endmacro -%}
