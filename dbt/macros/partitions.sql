{#- Make the monthly partitions that the rows of a table need and `relation` does not have yet. The bounds
    come from the rows themselves, so no date can be without its partition. -#}
{%- macro make_month_partitions(relation, column, rows) -%}
    do $partitions$
    declare
        parent regclass := '{{ relation.schema }}."{{ relation.identifier }}"'::regclass;
        month date;
        child text;
    begin
        for month in select distinct date_trunc('month', {{ column }})::date from {{ rows }} order by 1 loop
            -- The parent's oid is in the name: a full refresh builds its partitions beside the live ones.
            child := format('%s_p%s_%s', '{{ this.identifier[:36] }}', to_char(month, 'YYYYMM'), parent::oid);
            if to_regclass(format('{{ this.schema }}_parts.%I', child)) is null then
                execute format(
                    'create table {{ this.schema }}_parts.%I partition of %s for values from (%L) to (%L)',
                    child, parent, month, (month + interval '1 month')::date
                );
            end if;
        end loop;
    end $partitions$;
{%- endmacro -%}


{#- Analyze the partitions that hold these days. -#}
{%- macro analyze_month_partitions(relation, days) -%}
    do $analyze$
    declare
        child regclass;
    begin
        for child in
            select to_regclass(
                format(
                    '{{ this.schema }}_parts.%I',
                    format(
                        '%s_p%s_%s',
                        '{{ this.identifier[:36] }}',
                        to_char(month, 'YYYYMM'),
                        '{{ relation.schema }}."{{ relation.identifier }}"'::regclass::oid
                    )
                )
            )
            from (
                select distinct date_trunc('month', day) as month
                from unnest(array[{{ days }}]::date[]) as days (day)
            ) as months
        loop
            if child is not null then
                execute format('analyze %s', child);
            end if;
        end loop;
    end $analyze$;
{%- endmacro -%}
