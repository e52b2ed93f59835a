-- Each pair of scores lies in exactly one segment.

with

segments as (

    select * from {{ ref('rfm_segments') }}

),

pairs as (

    select
        recency_score,
        frequency_monetary_score
    from generate_series(1, 5) as recency (recency_score)
    cross join generate_series(1, 5) as frequency_monetary (frequency_monetary_score)

)

select
    pairs.recency_score,
    pairs.frequency_monetary_score,
    count(segments.segment) as segment_count
from pairs
left join segments
    on pairs.recency_score between segments.min_recency_score and segments.max_recency_score
    and pairs.frequency_monetary_score
    between segments.min_frequency_monetary_score and segments.max_frequency_monetary_score
group by 1, 2
having count(segments.segment) <> 1
