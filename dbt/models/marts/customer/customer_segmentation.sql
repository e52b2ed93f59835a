{{ config(unique_key=['source_system', 'customer_id']) }}

with

customers as (

    select * from {{ ref('customer_summary') }}

),

rfm_segments as (

    select * from {{ ref('rfm_segments') }}

),

-- No column moves with the as-of date alone: a row changes when its customer's place among the others does.

final as (

    select
        -- ids
        customers.source_system,
        customers.customer_id,

        -- text
        customers.rfm_segment as segment,
        rfm_segments.description as segment_description,
        rfm_segments.marketing_strategy,
        customers.currency,

        -- dates
        customers.last_order_date,

        -- numbers
        rfm_segments.segment_rank,
        customers.recency_score,
        customers.frequency_score,
        customers.monetary_score,
        customers.frequency_monetary_score,
        customers.frequency,
        customers.monetary_amount,

        -- booleans
        customers.is_marketing_opt_in
    from customers
    left join rfm_segments on customers.rfm_segment = rfm_segments.segment
    where customers.frequency > 0

)

select * from final
