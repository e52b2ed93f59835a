{#- A surrogate key: a hash of the parts, each told apart from its neighbour and from null. Parts must not
    depend on the session's settings when cast to text: give timestamps as utc_text(...). -#}
{%- macro surrogate_key(parts) -%}
    md5(
    {%- for part in parts -%}
        coalesce({{ part }}::text, e'\x1e')
        {%- if not loop.last %} || e'\x1f' || {% endif -%}
    {%- endfor -%}
    )::uuid
{%- endmacro -%}


{#- A timestamp as text that no setting of the session changes, to the microsecond. -#}
{%- macro utc_text(timestamp) -%}
    to_char({{ timestamp }} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
{%- endmacro -%}


{#- Key of a place in dim_geography; that of three nulls is the unknown place. -#}
{%- macro geography_key(country, state, city) -%}
    {{ surrogate_key([country, state, city]) }}
{%- endmacro -%}
