{{ config(
    materialized='incremental',
    incremental_strategy='changed_rows',
    unique_key='source_system',
    indexes=[{'columns': ['source_system'], 'unique': true}],
    meta={'touched': {'key': 'source_system', 'days': ['as_of_date']}},
) }}

with ledger as (
    select * from {{ source('raw', 'load_ledger') }}
),

-- what is in effect for each path: its latest version that took effect
in_effect as (
    select distinct on (ledger.source, ledger.path)
        ledger.source,
        ledger.status,
        ledger.business_date
    from ledger
    where ledger.load_id is not null
    order by ledger.source asc, ledger.path asc, ledger.version desc
)

select
    source as source_system,
    max(business_date) as as_of_date
from in_effect
where status = 'loaded' and business_date is not null
group by source
