{{ config(unique_key=['source_system', 'month', 'shipping_method', 'country']) }}

{%- set counts = [
    'order_count', 'cancelled_order_count', 'shipped_order_count', 'tracked_order_count', 'delivered_order_count',
    'open_order_count', 'overdue_order_count', 'on_time_order_count', 'late_order_count',
] -%}
{%- set seconds = ['order_to_ship_seconds', 'ship_to_delivery_seconds', 'order_to_delivery_seconds'] %}

with

fulfilment_days as (

    select * from {{ ref('int_fulfilment_day') }}

),

promises as (

    select * from {{ ref('shipping_promises') }}

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

-- Who waits longer than promised is late already, not only when the parcel comes.

awaited as (

    select
        fulfilment_days.*,
        as_of.as_of_date,
        promises.promised_days,
        case
            when fulfilment_days.day + promises.promised_days < as_of.as_of_date then fulfilment_days.open_order_count
            else 0
        end as overdue_order_count
    from fulfilment_days
    left join promises on fulfilment_days.shipping_method = promises.shipping_method
    left join as_of on fulfilment_days.source_system = as_of.source_system

),

summed as (

    select
        source_system,
        date_trunc('month', day::timestamp)::date as month,
        shipping_method,
        country,
        min(promised_days) as promised_days,
        min(as_of_date) as as_of_date,
        {{ sum_measures(counts) }},
        {% for second in seconds -%}
        sum({{ second }})::bigint as {{ second }}{{ ',' if not loop.last }}
        {% endfor %}
    from awaited
    group by 1, 2, 3, 4

),

final as (

    select
        -- ids
        source_system,
        month,
        shipping_method,
        country,

        -- numbers
        promised_days::integer as promised_days,
        {% for column in counts + seconds -%}
        {{ column }},
        {% endfor -%}
        round(order_to_ship_seconds / nullif(shipped_order_count * 86400.0, 0), 4)::numeric(18, 4) as average_days_to_ship,
        round(ship_to_delivery_seconds / nullif(tracked_order_count * 86400.0, 0), 4)::numeric(18, 4)
            as average_days_in_transit,
        round(order_to_delivery_seconds / nullif(delivered_order_count * 86400.0, 0), 4)::numeric(18, 4)
            as average_days_to_deliver,
        {{ ratio('on_time_order_count', 'on_time_order_count + late_order_count + overdue_order_count') }}
            as on_time_share,
        {{ ratio('cancelled_order_count', 'order_count') }} as cancelled_order_share,

        -- booleans
        (month + interval '1 month')::date - 1 <= as_of_date as is_complete
    from summed

)

select * from final
