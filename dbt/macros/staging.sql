{#- Condition: whether a row's file was loaded after the mark of some model (for tests only). Staging is views over
    everything that ever arrived; a daily run tests what is new in them, a full one everything. -#}
{%- macro is_newly_loaded() -%}
    _file_id in (
        select file_id
        from {{ source('raw', 'load_ledger') }}
        where load_id > (select coalesce(min(load_id), 0) from {{ source('ops', 'model_marks') }})
    )
{%- endmacro -%}
