{#- A table whose columns are not those its yml says is built in full, as if --full-refresh had been asked for: so a
    new version of the project needs no hand. dbt asks this before it decides, and is_incremental() asks it, too. -#}
{%- macro should_full_refresh() -%}
    {%- set asked = config.get('full_refresh') -%}
    {%- if asked is none -%}
        {%- set asked = flags.FULL_REFRESH -%}
    {%- endif -%}
    {%- do return(asked or has_other_shape()) -%}
{%- endmacro -%}


{#- Whether the model's table is there and has other columns, or of other types, than its yml says. -#}
{%- macro has_other_shape() -%}
    {%- if not execute or config.get('incremental_strategy') not in ['touched_keys', 'changed_rows'] or not model.columns -%}
        {%- do return(false) -%}
    {%- endif -%}
    {%- set differing -%}
        select count(*) from (
            values {% for column in model.columns.values() -%}
                ('{{ column.name }}', '{{ column.data_type }}'){{ ', ' if not loop.last }}
            {%- endfor %}
        ) as said (name, type)
        full join (
            select attname, format_type(atttypid, atttypmod) as type
            from pg_attribute
            where attrelid = to_regclass('{{ this }}') and attnum > 0 and not attisdropped
        ) as columns on said.name = columns.attname
        where to_regclass('{{ this }}') is not null
            and (
                columns.attname is null
                or said.name is null
                or columns.type <> format_type(to_regtype(said.type), to_regtypemod(said.type))
            )
    {%- endset -%}
    {%- do return(query_value(differing) | int > 0) -%}
{%- endmacro -%}
