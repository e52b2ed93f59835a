{#- What macros ask the database for while dbt runs. While dbt parses there is no database: nothing is asked, and the
    answer is empty. A macro that calls query() must not have a variable of its own of that name. -#}

{#- The rows of a query as a list of mappings from column to value; [] at parse time, and from a statement that
    returns nothing. -#}
{%- macro query(sql) -%}
    {%- set found = [] -%}
    {%- if execute -%}
        {%- for row in run_query(sql).rows -%}
            {%- do found.append(row.dict()) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- do return(found) -%}
{%- endmacro -%}


{#- The first column of a query's first row; `default` at parse time and where there is no row. -#}
{%- macro query_value(sql, default=none) -%}
    {%- set found = query(sql) -%}
    {%- do return((found[0].values() | first) if found else default) -%}
{%- endmacro -%}


{#- The exact number of rows of a relation now (int); 0 at parse time and where there is no such relation.

    relation: ref(), source(), this, or a name with its schema, e.g. 'pg_temp.touched'. -#}
{%- macro get_row_count(relation) -%}
    {%- if not query_value("select to_regclass('" ~ (relation | string | replace("'", "''")) ~ "') is not null", false) -%}
        {%- do return(0) -%}
    {%- endif -%}
    {%- do return(query_value('select count(*) from ' ~ relation) | int) -%}
{%- endmacro -%}


{#- Operation: writes how many rows each table and view of a schema has, for who changed a model and looks for the step that
    lost rows or made too many:

        dbt run-operation log_row_counts --args '{schema: warehouse}' -#}
{%- macro log_row_counts(schema) -%}
    {%- for node in graph.nodes.values() | sort(attribute='name')
        if node.schema == schema and node.resource_type in ['model', 'seed', 'snapshot'] -%}
        {%- set relation = api.Relation.create(node.database, node.schema, node.alias) -%}
        {%- do print(relation.schema ~ '.' ~ relation.identifier ~ ': ' ~ '{:,}'.format(get_row_count(relation)) ~ ' rows') -%}
    {%- endfor -%}
{%- endmacro -%}
