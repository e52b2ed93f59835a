-- Which published tables are empty for a shop, and why: from the contracts and the project's graph, for every source of
-- which a file was loaded.
{#- The graph is there when models run, not yet when they are parsed. -#}
{%- set unfed = unfed_tables() if execute and graph.nodes else [] %}

with

files as (

    select * from {{ source('raw', 'load_ledger') }}
    where load_id is not null

),

unfed as (

    {% for source_system, table_name, reason in unfed -%}
    select '{{ source_system }}' as source_system, '{{ table_name }}' as table_name, '{{ reason }}' as reason
    union all
    {% endfor -%}
    select null::text, null::text, null::text
    where false

)

select
    source_system,
    table_name,
    reason
from unfed
where source_system in (select source from files)
