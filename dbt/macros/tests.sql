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
    {%- set query -%}
        with publication as (
            select coalesce(max(published_at), '-infinity') as published_at from ops.publications
        )

        select distinct touched.key = '*' as is_everything, touched.day::text as day
        from ops.touched
        cross join publication
        where touched.model = '{{ model_name }}' and touched.touched_at > publication.published_at
        order by 2
        limit 2001
    {%- endset -%}
    {%- set rows = run_query(query).rows -%}
    {%- set has_publication = run_query('select exists (select from ops.publications)').rows[0][0] -%}
    {%- set days = [] -%}
    {%- set everything = [not has_publication or rows | length > 2000] -%}
    {%- for row in rows -%}
        {%- if row[0] -%}
            {%- do everything.append(true) -%}
        {%- elif row[1] is not none -%}
            {%- do days.append("date '" ~ row[1] ~ "'") -%}
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

    select {{ columns | join(', ') }}, count(*) as row_count
    from {{ model }}
    group by {{ columns | join(', ') }}
    having count(*) > 1

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
