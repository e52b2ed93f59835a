select
    source_system,
    customer_id,
    frequency,
    recency_score,
    rfm_segment,
    activity_status
from {{ ref('customer_summary') }}
where (frequency > 0) <> (
    num_nulls(recency_score, frequency_score, monetary_score, frequency_monetary_score, rfm_segment, recency_days) = 0
)
or (frequency > 0) = (activity_status = 'no_orders')
