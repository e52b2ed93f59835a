{{ config(
    unique_key=['source_system', 'month', 'device_type', 'channel'],
    meta={'needs': ['web_events']},
) }}

{%- set counts = [
    'session_count', 'product_session_count', 'cart_session_count', 'checkout_session_count', 'purchase_session_count',
] %}

with

funnel_days as (

    select * from {{ ref('int_funnel_day') }}

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

summed as (

    select
        source_system,
        date_trunc('month', day::timestamp)::date as month,
        device_type,
        channel,
        {{ sum_measures(counts) }}
    from funnel_days
    group by 1, 2, 3, 4

),

final as (

    select
        -- ids
        summed.source_system,
        summed.month,
        summed.device_type,
        summed.channel,

        -- numbers
        {% for count in counts -%}
        summed.{{ count }},
        {% endfor -%}
        {{ ratio('summed.session_count', 'sum(summed.session_count) over (partition by summed.source_system, summed.month)') }}
            as session_share,
        {{ ratio('summed.product_session_count', 'summed.session_count') }} as product_view_rate,
        {{ ratio('summed.cart_session_count', 'summed.product_session_count') }} as add_to_cart_rate,
        {{ ratio('summed.checkout_session_count', 'summed.cart_session_count') }} as checkout_rate,
        {{ ratio('summed.purchase_session_count', 'summed.checkout_session_count') }} as purchase_rate,
        {{ ratio('summed.purchase_session_count', 'summed.session_count') }} as conversion_rate,
        {{ ratio('summed.cart_session_count - summed.purchase_session_count', 'summed.cart_session_count') }}
            as cart_abandonment_rate,

        -- booleans
        (summed.month + interval '1 month')::date - 1 <= as_of.as_of_date as is_complete
    from summed
    left join as_of on summed.source_system = as_of.source_system

)

select * from final
