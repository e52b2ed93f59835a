{{ config(materialized='view') }}

with rejected_rows as (
    select * from {{ source('raw', 'rejected_rows') }}
),

ledger as (
    select * from {{ source('raw', 'load_ledger') }}
)

select
    rejected_rows.source as source_system,
    coalesce(rejected_rows.keys ->> 'order_id', rejected_rows.keys ->> 'invoice_no') as order_id,
    count(*) as rejected_count
from rejected_rows
inner join ledger on rejected_rows.file_id = ledger.file_id
where
    ledger.is_current
    and ledger.load_id is not null
    and rejected_rows.resolved_by is null
    and rejected_rows.entity in ('order_items', 'lines')
    and coalesce(rejected_rows.keys ->> 'order_id', rejected_rows.keys ->> 'invoice_no') is not null
group by 1, 2
