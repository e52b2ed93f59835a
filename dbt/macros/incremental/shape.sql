{#- SQL expression: whether the model's table has other columns, or of other types, than its yml says. Such a table is
    built in full, as if --full-refresh had been asked for: so a new version of the project needs no hand. -#}
{%- macro has_other_shape() -%}
    exists (
        select from (
            values {% for column in model.columns.values() -%}
                ('{{ column.name }}', '{{ column.data_type }}'){{ ', ' if not loop.last }}
            {%- endfor %}
        ) as said (name, type)
        full join (
            select attname, format_type(atttypid, atttypmod) as type
            from pg_attribute
            where attrelid = to_regclass('{{ this }}') and attnum > 0 and not attisdropped
        ) as columns on said.name = columns.attname
        where
            columns.attname is null
            or said.name is null
            or columns.type <> format_type(to_regtype(said.type), to_regtypemod(said.type))
    )
{%- endmacro -%}
