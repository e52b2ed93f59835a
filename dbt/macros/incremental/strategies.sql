{#- Strategies of our own. Both compare what is there with what should be there, row by row, and write only what
    differs, what was touched by it (ops.touched) and the model's mark, in the model's one transaction.

    touched_keys: compares the rows of the touched keys (touched_keys() in the model).
    changed_rows: compares the whole table: for marts, whose query is cheap because it reads compact states. -#}

{#- SQL that makes the model's table what it should be within the window, run in part: the rows it should have and what
    differs are there as temporary tables when it returns. Where nothing was touched that a model reads, its query is
    not run at all. -#}
{%- macro replace_changed_rows(target, window, sql) -%}
    {%- set key = grain() -%}
    {{ move_mark() }}
    {%- if not (window.is_nothing or window.scope == 'false') -%}
        {%- set names = model.columns.keys() | list -%}
        {%- set columns = get_quoted_csv(names) -%}
        {%- set partition_column = config.get('meta', {}).get('partition_by_month') -%}
        {%- set removed = temporary_name('removed') -%}
        {%- set added = temporary_name('added') -%}
        {%- set counts = compare_rows(target, window, sql, columns, removed, added) -%}
        {%- set changed_count = counts.removed_count + counts.added_count -%}
        {%- if changed_count %}
            {%- set days = changed_days(removed, added, partition_column) if partition_column else none %}
            {%- if changed_count > 200000 %}
                insert into ops.touched (model, load_id, key)
                select '{{ this.identifier }}', load_id_to, '*' from pg_temp.{{ temporary_name('window') }};
            {%- else %}
                {{ record_touched(names, key, removed, added) }}
            {%- endif %}
            {%- if partition_column and counts.added_count %}
                {{ make_month_partitions(target, partition_column, 'pg_temp.' ~ added) }}
            {%- endif %}
            {%- if counts.removed_count %}
            delete from {{ target }} as target
            using pg_temp.{{ removed }} as removed
            where {% for column in key -%}
                target.{{ column }} = removed.{{ column }}{{ ' and ' if not loop.last }}
            {%- endfor %}
            {%- if partition_column %}
                and target.{{ partition_column }} = removed.{{ partition_column }}
                {%- if days.removed %} and target.{{ partition_column }} in ({{ days.removed }}){% endif -%}
            {%- endif %};
            {%- endif %}
            {%- if counts.added_count %}
            insert into {{ target }} ({{ columns }}) select {{ columns }} from pg_temp.{{ added }};
            {%- endif %}
            {#- The children look there for what changed, in this run: nested loops over 36,000 entries that nobody
                knew of took a checkpoint 32 s in place of 0.3. -#}
            {%- if counts.is_much_touched %}
            analyze ops.touched;
            {%- endif %}
            {#- As autovacuum would some minutes later: a table of 100 rows that has 40,000 now is not read by loops until then. -#}
            {%- if counts.is_much %}
            analyze {{ target }};
            {%- elif changed_count > 1000 and partition_column and days.all %}
            {{ analyze_month_partitions(target, days.all) }}
            {%- endif %}
        {%- endif %}
    {%- endif -%}
{%- endmacro -%}


{#- The columns of an incremental model's grain. -#}
{%- macro grain() -%}
    {%- set key = config.get('unique_key') -%}
    {%- if not key -%}
        {%- do exceptions.raise_compiler_error(this ~ ": an incremental model needs unique_key: the columns of its grain.") -%}
    {%- endif -%}
    {%- do return([key] if key is string else key) -%}
{%- endmacro -%}


{#- Put the rows the model should have into one temporary table, and what is there and should not be, and the other
    way round, into two more; their counts. One trip to the server. -#}
{%- macro compare_rows(target, window, sql, columns, removed, added) -%}
    {%- set rows = temporary_name('rows') -%}
    {#- A mart's query is over everything whatever was touched. -#}
    {%- set is_large =
        window.is_everything or window.key_count > 2000 or config.get('incremental_strategy') == 'changed_rows' -%}
    {%- set compare -%}
        {%- if is_large %}
        {{ plan_for_everything() }}
        {%- elif window.key_count < 0 %}
        {{ plan_for_lookups() }}
        {%- endif %}
        create temporary table {{ rows }} as
        select * from (
            {{ sql }}
        ) as new_rows;
        {{ plan_as_usual() }}
        {{ refuse_other_columns(target, rows) }}
        create temporary table {{ removed }} as
        select {{ columns }} from {{ target }} where {{ window.scope }}
        except all
        select {{ columns }} from pg_temp.{{ rows }};
        create temporary table {{ added }} as
        select {{ columns }} from pg_temp.{{ rows }}
        except all
        select {{ columns }} from {{ target }} where {{ window.scope }};
        analyze pg_temp.{{ removed }};
        analyze pg_temp.{{ added }};
        select
            removed_count,
            added_count,
            removed_count + added_count > 50 + 0.1 * (
                select greatest(reltuples, 0) from pg_class where oid = '{{ target }}'::regclass
            ) as is_much,
            removed_count + added_count > 1000 + 0.1 * (
                select greatest(reltuples, 0) from pg_class where oid = 'ops.touched'::regclass
            ) as is_much_touched
        from
            (select count(*) as removed_count from pg_temp.{{ removed }}) as removed,
            (select count(*) as added_count from pg_temp.{{ added }}) as added
    {%- endset -%}
    {%- do return(query(compare)[0]) -%}
{%- endmacro -%}


{#- SQL that stops a model whose query gives other columns, or others by type, than its table has. The table's are those
    its yml says (has_other_shape), so this holds the contract, too. -#}
{%- macro refuse_other_columns(target, rows) -%}
    do $columns$
    declare
        difference text;
    begin
        select string_agg(
            format(
                '%s is %s in the query and %s in its yml', coalesce(new.attname, old.attname),
                coalesce(format_type(new.atttypid, null), 'missing'), coalesce(format_type(old.atttypid, null), 'missing')
            ),
            '; ' order by coalesce(new.attname, old.attname)
        )
        into difference
        from (
            select attname, atttypid from pg_attribute
            where attrelid = 'pg_temp.{{ rows }}'::regclass and attnum > 0 and not attisdropped
        ) as new
        full join (
            select attname, atttypid from pg_attribute
            where attrelid = '{{ target }}'::regclass and attnum > 0 and not attisdropped
        ) as old on old.attname = new.attname
        where old.atttypid is distinct from new.atttypid;
        if difference is not null then
            raise exception 'The columns of {{ this.identifier }} are not those of its contract: %.', difference;
        end if;
    end $columns$;
{%- endmacro -%}


{#- The partition days of changed rows as date literals: `removed`, and `all`. -#}
{%- macro changed_days(removed, added, column) -%}
    {%- set changed -%}
        select is_removed, 'date ''' || day || '''' as literal from (
            select distinct true as is_removed, {{ column }} as day from pg_temp.{{ removed }}
            union
            select distinct false, {{ column }} from pg_temp.{{ added }}
        ) as days order by day
    {%- endset -%}
    {%- set removed_days, all_days = [], [] -%}
    {%- for row in query(changed) -%}
        {%- do all_days.append(row.literal) -%}
        {%- if row.is_removed -%}{%- do removed_days.append(row.literal) -%}{%- endif -%}
    {%- endfor -%}
    {%- do return({'removed': removed_days | join(', '), 'all': all_days | unique | join(', ')}) -%}
{%- endmacro -%}


{#- SQL that writes what changed to ops.touched: old and new values, each once.

    The model may say what stands for what (`meta: {touched: {...}}`): `key` (a column; default: the unique key
    without source_system, parts joined by |), `days` (date columns, a row for each), `interval` ([valid_from,
    valid_to], for dimensions: changed_from is then the earliest moment from which anything differs).
    customer_id and product_id are taken where the model has such columns. -#}
{%- macro record_touched(names, key, removed, added) -%}
    {%- set touched = config.get('meta', {}).get('touched', {}) -%}
    {%- set parts = key | reject('equalto', 'source_system') | list -%}
    {%- if touched.get('key') -%}
        {%- set key_text = touched.key ~ '::text' -%}
    {%- elif parts -%}
        {%- set key_text = (parts | join("::text || '|' || ")) ~ '::text' -%}
    {%- else -%}
        {%- set key_text = "''" -%}
    {%- endif -%}
    {%- set source = 'source_system' if 'source_system' in names else 'null' -%}
    {%- set customer = 'customer_id' if 'customer_id' in names else 'null' -%}
    {%- set product = 'product_id' if 'product_id' in names else 'null' -%}
    insert into ops.touched (model, load_id, source_system, key, customer_id, product_id, day, changed_from)
    {%- if touched.get('interval') %}
    {%- set valid_from, valid_to = touched.interval[0], touched.interval[1] %}
    {%- set bookkeeping = "'{" ~ valid_to ~ ",is_current}'::text[]" %}
    -- A row of which only the end moved says the same as before up to the earlier of both ends.
    select
        '{{ this.identifier }}', (select load_id_to from pg_temp.{{ temporary_name('window') }}),
        source_system, key, customer_id, product_id, null::date, min(changed_from)
    from (
        select
            coalesce(old.source_system, new.source_system) as source_system,
            coalesce(old.touched_key, new.touched_key) as key,
            coalesce(old.touched_customer_id, new.touched_customer_id) as customer_id,
            coalesce(old.touched_product_id, new.touched_product_id) as product_id,
            case
                when old.touched_rest = new.touched_rest then least(old.{{ valid_to }}, new.{{ valid_to }})
                else least(old.{{ valid_from }}, new.{{ valid_from }})
            end as changed_from
        from (
            select
                *, {{ key_text }} as touched_key, {{ customer }}::text as touched_customer_id,
                {{ product }}::text as touched_product_id, to_jsonb(old_rows) - {{ bookkeeping }} as touched_rest
            from pg_temp.{{ removed }} as old_rows
        ) as old
        full join (
            select
                *, {{ key_text }} as touched_key, {{ customer }}::text as touched_customer_id,
                {{ product }}::text as touched_product_id, to_jsonb(new_rows) - {{ bookkeeping }} as touched_rest
            from pg_temp.{{ added }} as new_rows
        ) as new
            on {% for column in key -%}
                old.{{ column }} = new.{{ column }}{{ ' and ' if not loop.last }}
            {%- endfor %}
    ) as changes
    group by source_system, key, customer_id, product_id;
    {%- else %}
    {%- set days = touched.get('days', []) %}
    select distinct
        '{{ this.identifier }}', (select load_id_to from pg_temp.{{ temporary_name('window') }}),
        {{ source }}, {{ key_text }}, {{ customer }}::text, {{ product }}::text, {{ 'touched_days.touched_day' if days else 'null::date' }},
        null::timestamptz
    from (
        select * from pg_temp.{{ removed }}
        union all
        select * from pg_temp.{{ added }}
    ) as changes
    {%- if days %}
    -- the first day even where it is null, so that no change goes without a row
    inner join lateral (
        values {% for day in days -%}
            ({{ day }}, {{ loop.first | lower }}){{ ', ' if not loop.last }}
        {%- endfor %}
    ) as touched_days (touched_day, is_first)
        on touched_days.touched_day is not null or touched_days.is_first
    {%- endif %};
    {%- endif %}
{%- endmacro -%}
