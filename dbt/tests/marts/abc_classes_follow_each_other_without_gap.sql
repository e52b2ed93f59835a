with

classes as (

    select
        *,
        lag(max_share_before) over (order by min_share_before) as previous_max_share_before,
        lead(min_share_before) over (order by min_share_before) as next_min_share_before,
        row_number() over (order by min_share_before) as position
    from {{ ref('abc_classes') }}

)

select * from classes
where (position = 1 and min_share_before <> 0)
    or (position > 1 and min_share_before is distinct from previous_max_share_before)
    or (next_min_share_before is null) <> (max_share_before is null)
