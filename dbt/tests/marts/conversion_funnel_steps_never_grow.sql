select
    source_system,
    month,
    device_type,
    channel
from {{ ref('conversion_funnel') }}
where product_session_count > session_count
    or cart_session_count > product_session_count
    or checkout_session_count > cart_session_count
    or purchase_session_count > checkout_session_count
