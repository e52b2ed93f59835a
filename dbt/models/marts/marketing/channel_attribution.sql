{{ config(unique_key=['source_system', 'attribution_model', 'channel', 'month']) }}

with

attribution_days as (

    select * from {{ ref('int_attribution_day') }}

),

channels as (

    select * from {{ ref('dim_channel') }}

),

summed as (

    select
        source_system,
        attribution_model,
        channel,
        date_trunc('month', day::timestamp)::date as month,
        min(currency) as currency,
        sum(order_count) filter (where is_tracked) as tracked_order_count,
        {{ sum_measures() }}
    from attribution_days
    group by 1, 2, 3, 4

),

measured as (

    select
        *,
        gross_amount - discount_amount as order_amount,
        {{ net_amount('gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount') }} as net_amount,
        {{ known_kept_cost() }} as kept_cost_amount
    from summed

),

final as (

    select
        -- ids
        measured.source_system,
        measured.attribution_model,
        measured.channel,
        measured.month,

        -- text
        channels.channel_name,
        measured.currency,

        -- numbers
        measured.order_count,
        coalesce(measured.tracked_order_count, 0)::bigint as tracked_order_count,
        measured.cancelled_order_count,
        measured.gross_amount,
        measured.discount_amount,
        measured.order_amount::numeric(18, 4) as order_amount,
        measured.cancelled_amount,
        measured.refund_amount,
        measured.net_amount::numeric(18, 4) as net_amount,
        (measured.net_amount - measured.kept_cost_amount)::numeric(18, 4) as margin_amount,
        {{ ratio(
            'measured.order_count',
            'sum(measured.order_count) over (partition by measured.source_system, measured.attribution_model, measured.month)',
        ) }} as order_share,
        {{ ratio(
            'measured.order_amount',
            'sum(measured.order_amount) over (partition by measured.source_system, measured.attribution_model, measured.month)',
        ) }} as order_amount_share
    from measured
    left join channels on measured.channel = channels.channel

)

select * from final
