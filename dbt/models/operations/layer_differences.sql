-- Why two layers differ: the parts of layer_reconciliation's differences.

select

    ---------- ids
    source_system,
    business_date,

    ---------- text
    entity,
    from_object,
    to_object,
    measure,
    name as difference_name,
    meaning,
    see,

    ---------- numbers
    value as difference,
    row_count

from {{ source('ops', 'reconciliation_differences') }}
