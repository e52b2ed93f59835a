{#- Order of the versions of a key, latest first. It depends on what was delivered alone, never on when it
    arrived. -#}
{%- macro latest_version_first() -%}
    version_at desc, _business_date desc, _path collate "C" desc, _line_number desc
{%- endmacro -%}


{#- CTEs `versions` … `intervals` of a type-2 dimension, from the delivered versions in CTE `delivered`.

    Of versions with the same moment the last delivered stays; a version equal to its predecessor makes no row;
    the first is valid from -infinity, the last to infinity. -#}
{%- macro type_2_intervals(key, attributes) -%}
    versions as (
        select
            *,
            row_number() over (
                partition by source_system, {{ key }}, version_at
                order by {{ latest_version_first() }}
            ) as recency,
            md5(row({{ attributes | join(', ') }})::text) as attributes_digest
        from delivered
    ),

    compared as (
        select
            *,
            lag(attributes_digest) over (
                partition by source_system, {{ key }}
                order by version_at
            ) as previous_digest
        from versions
        where recency = 1
    ),

    changes as (
        select *
        from compared
        where previous_digest is distinct from attributes_digest
    ),

    intervals as (
        select
            *,
            case
                when lag(version_at) over (partition by source_system, {{ key }} order by version_at) is null
                    then '-infinity'::timestamptz
                else version_at
            end as valid_from,
            coalesce(
                lead(version_at) over (partition by source_system, {{ key }} order by version_at),
                'infinity'::timestamptz
            ) as valid_to
        from changes
    )
{%- endmacro -%}
