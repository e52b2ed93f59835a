with

campaigns as (

    select * from {{ ref('marketing_campaigns') }}

)

select
    campaigns.campaign,
    others.campaign as other_campaign
from campaigns
inner join campaigns as others
    on campaigns.priority < others.priority
    and campaigns.min_recency_days <= others.max_recency_days
    and others.min_recency_days <= campaigns.max_recency_days
    and campaigns.min_order_count <= coalesce(others.max_order_count, 2147483647)
    and others.min_order_count <= coalesce(campaigns.max_order_count, 2147483647)
