{#- Tests on large tables read what was touched since the last publication, and everything when there was none or
    when everything was touched. In a test's `where`, `__touched__(order_date)` stands for that condition, and
    `__newly_loaded__` for rows of files that some model has not taken in yet (macros/staging.sql). -#}
{%- macro get_where_subquery(relation) -%}
    {%- set where = config.get('where') or '' -%}
    {%- if '__newly_loaded__' in where -%}
        {%- set where = where | replace('__newly_loaded__', is_newly_loaded(relation)) -%}
    {%- endif -%}
    {%- if '__touched__(' in where -%}
        {%- set before, rest = where.split('__touched__(')[0], where.split('__touched__(')[1] -%}
        {%- set column, after = rest.split(')')[0], rest.split(')')[1:] | join(')') -%}
        {%- do return(
            '(select * from ' ~ relation ~ ' where ' ~ before ~ is_day_touched(relation.identifier, column) ~ after
            ~ ') dbt_subquery') -%}
    {%- elif where -%}
        {%- do return('(select * from ' ~ relation ~ ' where ' ~ where ~ ') dbt_subquery') -%}
    {%- else -%}
        {%- do return(relation) -%}
    {%- endif -%}
{%- endmacro -%}


{#- Condition: whether a day was touched in a model since the last publication (for tests only). -#}
{%- macro is_day_touched(model_name, column) -%}
    {%- if not execute -%}
        {%- do return('true') -%}
    {%- endif -%}
    {%- set touched -%}
        with publication as (
            select max(published_at) as published_at from ops.publications
        )

        select distinct touched.key = '*' as is_everything, touched.day::text as day
        from ops.touched
        cross join publication
        where touched.model = '{{ model_name }}' and touched.touched_at > publication.published_at
        union all
        select true as is_everything, null as day from publication
        where published_at is null
        order by 2
        limit 2001
    {%- endset -%}
    {%- set rows = query(touched) -%}
    {%- set days = [] -%}
    {%- set everything = [rows | length > 2000] -%}
    {%- for row in rows -%}
        {%- if row.is_everything -%}
            {%- do everything.append(true) -%}
        {%- elif row.day is not none -%}
            {%- do days.append("date '" ~ row.day ~ "'") -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if true in everything -%}
        {%- do return('true') -%}
    {%- elif days -%}
        {%- do return(column ~ ' in (' ~ days | unique | join(', ') ~ ')') -%}
    {%- else -%}
        {%- do return('false') -%}
    {%- endif -%}
{%- endmacro -%}


{#- Generic test: the columns together are unique. -#}
{% test unique_combination(model, columns) %}

    {{ rows_of_one_key(model, columns) }}

{% endtest %}


{#- Generic test: the columns together are a primary key, unique and never null: one test for the grain of a view, a
    seed or a table without constraints. Where the database itself holds the nulls, unique_combination is enough. -#}
{% test primary_key(model, columns) %}

    {{ rows_of_one_key(model, columns) }}
    union all
    select {{ columns | join(', ') }}, 1 as row_count
    from {{ model }}
    where {{ columns | join(' is null or ') }} is null

{% endtest %}


{#- Query: keys that several rows have. A table of which a unique index keeps these columns, none of them ever null, is not
    read: the server has counted already, and a sort of 4 million rows took 6 s each night. -#}
{%- macro rows_of_one_key(model, columns) -%}
    {#- get_where_subquery() gives a part of a table as a subquery -#}
    {%- set relation = (model | string).removeprefix('(select * from ').split(' where ')[0] -%}
    select {{ columns | join(', ') }}, count(*) as row_count
    from {{ model }}
    where not exists (
        select from pg_index
        where indrelid = '{{ relation }}'::regclass
            and indisunique and indisvalid and indpred is null and indexprs is null and indnkeyatts = indnatts
            and not exists (
                select from pg_attribute
                where attrelid = indrelid and attnum = any(indkey)
                    and (not attnotnull or attname <> all(array['{{ columns | join("', '") }}']))
            )
    )
    group by {{ columns | join(', ') }}
    having count(*) > 1
{%- endmacro -%}


{#- Generic test: none of the columns is ever null. -#}
{% test not_null_columns(model, columns) %}

    select
        *,
        array_remove(array[{% for column in columns -%}
            case when {{ column }} is null then '{{ column }}' end{{ ', ' if not loop.last }}
        {%- endfor %}], null) as null_columns
    from {{ model }}
    where num_nulls({{ columns | join(', ') }}) > 0

{% endtest %}


{#- Generic test: what a row names is there: a row of `to` has the same values in these columns, by which it is found
    by an index (dbt's relationships reads all of `to`). A row with a null among them names nothing. -#}
{% test refers_to(model, to, columns) %}

    select naming.*
    from (select * from {{ model }}) as naming
    where num_nulls({% for column in columns %}naming.{{ column }}{{ ', ' if not loop.last }}{% endfor %}) = 0
        and not exists (
            select from {{ to }} as named
            where {% for column in columns -%}
                named.{{ column }} = naming.{{ column }}{{ ' and ' if not loop.last }}
            {%- endfor %}
        )

{% endtest %}


{#- Generic test: in each of the columns every value that is there lies between the bounds, which belong to it; a bound
    that is left out bounds nothing. -#}
{% test values_in_range(model, columns, min_value=none, max_value=none) %}

    {%- set outside = [] -%}
    {%- for column in columns -%}
        {%- if min_value is not none -%}{%- do outside.append(column ~ ' < ' ~ min_value) -%}{%- endif -%}
        {%- if max_value is not none -%}{%- do outside.append(column ~ ' > ' ~ max_value) -%}{%- endif -%}
    {%- endfor %}

    select *
    from {{ model }}
    where {{ outside | join(' or ') }}

{% endtest %}


{#- Generic test: every row keeps every one of the conditions. A condition on a value that is null holds. -#}
{% test conditions_hold_in_every_row(model, conditions) %}

    select broken.condition, rows_of_model.*
    -- with a `where` in its config the model is a subquery with a name of its own
    from (select * from {{ model }}) as rows_of_model
    cross join lateral (
        values
        {%- for condition in conditions %}
            ('{{ condition | replace("'", "''") }}', {{ condition }}){{ ',' if not loop.last }}
        {%- endfor %}
    ) as broken (condition, holds)
    where not broken.holds

{% endtest %}


{#- Generic test: the amounts of a transaction are such as money can be. A failing row names the transaction, the amount
    and what is wrong with it; an amount that is wrong in two ways, the first of them.

    key:      columns that name the transaction.
    amounts:  {column: positive, non_negative or any}.
    optional: those of them that may be missing.
    currency: column with the currency, whose smallest unit bounds the decimals.
    decimals: as many are allowed, in place of the currency's.
    maximum:  no amount, without its sign, is more than that. -#}
{% test valid_transaction_amount(
    model, key, amounts, optional=[], currency='currency', decimals=none, maximum=none
) %}

    {%- set faults = {'positive': ('<= 0', 'is not positive'), 'non_negative': ('< 0', 'is negative'), 'any': none} -%}
    {%- set allowed = decimals if decimals is not none else currency_decimals(currency) %}

    select
        {%- for column in key %}
        rows_of_model.{{ column }},
        {%- endfor %}
        checked.amount_name,
        checked.amount,
        checked.reason
    from (select * from {{ model }}) as rows_of_model
    cross join lateral (
        values
        {%- for column, sign in amounts.items() %}
            {%- if sign not in faults %}
                {{ exceptions.raise_compiler_error(
                    'valid_transaction_amount: the sign of ' ~ column ~ ' is one of ' ~ faults | join(', ') ~ ', not ' ~ sign) }}
            {%- endif %}
            (
                '{{ column }}', {{ column }}, case
                    when {{ column }} is null then {{ 'null' if column in optional else "'is missing'" }}
                    when {{ column }} in ('NaN', 'Infinity', '-Infinity') then 'is no number'
                    {%- if faults[sign] %}
                    when {{ column }} {{ faults[sign][0] }} then '{{ faults[sign][1] }}'
                    {%- endif %}
                    {%- if maximum is not none %}
                    when abs({{ column }}) > {{ maximum }} then 'is more than {{ maximum }}'
                    {%- endif %}
                    when {{ column }} <> round({{ column }}, {{ allowed }}) then 'has too many decimals'
                end
            ){{ ',' if not loop.last }}
        {%- endfor %}
    ) as checked (amount_name, amount, reason)
    where checked.reason is not null

{% endtest %}
