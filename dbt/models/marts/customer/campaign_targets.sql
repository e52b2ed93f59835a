{{ config(unique_key=['source_system', 'customer_id']) }}

with

-- Only who said yes: an unknown consent is none.

customers as (

    select * from {{ ref('customer_summary') }}
    where is_marketing_opt_in
        and frequency > 0

),

lifetimes as (

    select * from {{ ref('customer_ltv_analysis') }}

),

marketing_campaigns as (

    select * from {{ ref('marketing_campaigns') }}

),

final as (

    select
        -- ids
        customers.source_system,
        customers.customer_id,

        -- text
        marketing_campaigns.campaign,
        marketing_campaigns.suggested_action,
        marketing_campaigns.description
        || ' Last order ' || customers.recency_days || ' days ago, '
        || customers.frequency || case when customers.frequency = 1 then ' order so far.' else ' orders so far.' end
            as reason,
        customers.rfm_segment,
        customers.favourite_category,
        customers.currency,

        -- dates
        customers.as_of_date,

        -- numbers
        marketing_campaigns.priority,
        customers.recency_days,
        customers.frequency as order_count,
        customers.average_order_value,
        lifetimes.churn_risk,
        round((1 - coalesce(lifetimes.churn_risk, 0)) * customers.average_order_value, 4)::numeric(18, 4)
            as expected_value_amount
    from customers
    inner join lifetimes
        on customers.source_system = lifetimes.source_system
        and customers.customer_id = lifetimes.customer_id
    inner join marketing_campaigns
        on customers.recency_days
        between marketing_campaigns.min_recency_days and marketing_campaigns.max_recency_days
        and customers.frequency >= marketing_campaigns.min_order_count
        and (
            customers.frequency <= marketing_campaigns.max_order_count
            or marketing_campaigns.max_order_count is null
        )

)

select * from final
