-- The last recommendation has no condition: every product gets one.

with

ranked as (

    select
        *,
        row_number() over (order by priority desc) as place_from_last
    from {{ ref('product_recommendations') }}

)

select recommendation from ranked
where place_from_last = 1
    and num_nonnulls(
        abc_classes, trends, min_return_rate, min_kept_unit_count, max_margin_rate, max_health_score, is_active
    ) > 0
