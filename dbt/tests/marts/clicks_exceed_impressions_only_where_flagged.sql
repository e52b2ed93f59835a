-- Such days are delivered, counted as flagged, and kept; nothing else makes clicks of no impressions.

with

spend as (

    select
        source_system,
        count(*) as row_count
    from {{ ref('fact_marketing_spend') }}
    where click_count > impression_count
    group by source_system

),

flagged as (

    select * from {{ ref('flagged_rows') }}
    where kind = 'clicks_exceed_impressions'

),

shown as (

    select distinct source_system from {{ ref('campaign_performance') }}
    where click_count > impression_count

)

select
    coalesce(spend.source_system, flagged.source_system, shown.source_system) as source_system,
    spend.row_count,
    flagged.row_count as flagged_count
from spend
full join flagged on spend.source_system = flagged.source_system
full join shown on coalesce(spend.source_system, flagged.source_system) = shown.source_system
where spend.row_count is distinct from flagged.row_count
