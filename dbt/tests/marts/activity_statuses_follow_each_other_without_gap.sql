with

statuses as (

    select
        *,
        lead(min_recency_days) over (order by min_recency_days) as next_min_recency_days,
        lag(max_recency_days) over (order by min_recency_days) as previous_max_recency_days,
        row_number() over (order by min_recency_days) as position
    from {{ ref('activity_statuses') }}

)

select * from statuses
where (position = 1 and min_recency_days <> 0)
    or (position > 1 and min_recency_days is distinct from previous_max_recency_days + 1)
    or (next_min_recency_days is null) <> (max_recency_days is null)
