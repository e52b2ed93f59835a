-- What each layer has of what the one before it had; an unexplained difference stops the run at its checkpoint.

with

measured as (

    select * from {{ source('ops', 'reconciliation') }}

),

named as (

    select
        source_system,
        business_date,
        entity,
        from_object,
        to_object,
        measure,
        jsonb_object_agg(name, value) as named_differences
    from {{ source('ops', 'reconciliation_differences') }}
    group by source_system, business_date, entity, from_object, to_object, measure

)

select

    ---------- ids
    measured.source_system,
    measured.business_date,

    ---------- text
    measured.entity,
    measured.from_layer,
    measured.to_layer,
    measured.from_object,
    measured.to_object,
    measured.measure,

    ---------- numbers
    measured.value_from,
    measured.value_to,
    measured.value_to - measured.value_from as difference,
    measured.explained,
    measured.unexplained,
    measured.mismatches as mismatched_row_count,

    ---------- booleans
    measured.unexplained = 0 and measured.mismatches = 0 as is_explained,

    ---------- what it is made of
    named.named_differences,
    measured.run_id,
    measured.measured_at

from measured
left join named
    on measured.source_system = named.source_system
    and measured.business_date is not distinct from named.business_date
    and measured.entity = named.entity
    and measured.from_object = named.from_object
    and measured.to_object = named.to_object
    and measured.measure = named.measure
