{#- A seed that gained or lost a column is made anew: dbt would fill the old table and fail. What reads it and goes
    with it is made again by the same run. -#}
{%- macro postgres__reset_csv_table(model, full_refresh, old_relation, agate_table) -%}
    {%- set there = adapter.get_columns_in_relation(old_relation) | map(attribute='name') | sort -%}
    {%- set is_changed = there != agate_table.column_names | sort -%}
    {%- do return(default__reset_csv_table(model, full_refresh or is_changed, old_relation, agate_table)) -%}
{%- endmacro -%}
