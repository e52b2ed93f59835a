{{
    config(
        unique_key=['source_system', 'channel', 'acquisition_month'],
        meta={'needs': ['marketing_spend']},
    )
}}

with

acquisition_months as (

    select * from {{ ref('int_acquisition_month') }}
    where {{ has_marketing('source_system') }}

),

marketing_days as (

    select * from {{ ref('int_marketing_day') }}
    where {{ has_marketing('source_system') }}

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

channels as (

    select * from {{ ref('dim_channel') }}

),

spend as (

    select
        source_system,
        channel,
        date_trunc('month', day::timestamp)::date as acquisition_month,
        sum(spend_amount) as spend_amount
    from marketing_days
    group by 1, 2, 3
    having sum(spend_amount) > 0

),

measured as (

    select
        source_system,
        channel,
        acquisition_month,
        month,
        customer_count,
        order_count,
        {{ net_amount('gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount') }} as net_amount,
        cost_amount,
        cancelled_cost_amount,
        returned_cost_amount,
        unknown_cost_count
    from acquisition_months

),

-- What a month's customers brought so far, month by month.

cumulated as (

    select
        source_system,
        channel,
        acquisition_month,
        month,
        case
            when sum(unknown_cost_count) over earlier_months = 0
                then sum(net_amount) over earlier_months
                    - sum({{ kept_cost('cost_amount', 'cancelled_cost_amount', 'returned_cost_amount') }})
                        over earlier_months
        end as cumulative_margin_amount
    from measured
    window earlier_months as (partition by source_system, channel, acquisition_month order by month)

),

totals as (

    select
        source_system,
        channel,
        acquisition_month,
        coalesce(sum(customer_count) filter (where month = acquisition_month), 0)::bigint as new_customer_count,
        sum(order_count)::bigint as order_count,
        sum(net_amount) as net_amount,
        case
            when sum(unknown_cost_count) = 0
                then sum(net_amount)
                    - sum({{ kept_cost('cost_amount', 'cancelled_cost_amount', 'returned_cost_amount') }})
        end as margin_amount
    from measured
    group by 1, 2, 3

),

-- The first month at whose end the margin so far covers what was spent to bring these customers.

paybacks as (

    select
        cumulated.source_system,
        cumulated.channel,
        cumulated.acquisition_month,
        min(cumulated.month) as payback_month
    from cumulated
    inner join spend
        on cumulated.source_system = spend.source_system
        and cumulated.channel = spend.channel
        and cumulated.acquisition_month = spend.acquisition_month
    where cumulated.month >= cumulated.acquisition_month
        and cumulated.cumulative_margin_amount >= spend.spend_amount
    group by 1, 2, 3

),

joined as (

    select
        coalesce(totals.source_system, spend.source_system) as source_system,
        coalesce(totals.channel, spend.channel) as channel,
        coalesce(totals.acquisition_month, spend.acquisition_month) as acquisition_month,
        coalesce(totals.new_customer_count, 0) as new_customer_count,
        coalesce(totals.order_count, 0) as order_count,
        coalesce(spend.spend_amount, 0) as spend_amount,
        coalesce(totals.net_amount, 0) as net_amount,
        case when totals.source_system is null then 0 else totals.margin_amount end as margin_amount
    from totals
    full join spend
        on totals.source_system = spend.source_system
        and totals.channel = spend.channel
        and totals.acquisition_month = spend.acquisition_month

),

final as (

    select
        -- ids
        joined.source_system,
        joined.channel,
        joined.acquisition_month,

        -- text
        channels.channel_name,
        {{ source_currency('joined.source_system') }} as currency,

        -- numbers
        (
            12 * (extract(year from as_of.as_of_date) - extract(year from joined.acquisition_month))
            + extract(month from as_of.as_of_date) - extract(month from joined.acquisition_month)
        )::integer as months_observed,
        joined.new_customer_count,
        joined.order_count,
        joined.spend_amount::numeric(18, 4) as spend_amount,
        joined.net_amount::numeric(18, 4) as net_amount,
        joined.margin_amount::numeric(18, 4) as margin_amount,
        round(joined.spend_amount / nullif(joined.new_customer_count, 0), 4)::numeric(18, 4)
            as customer_acquisition_cost,
        round(joined.net_amount / nullif(joined.new_customer_count, 0), 4)::numeric(18, 4) as net_per_customer,
        round(joined.margin_amount / nullif(joined.new_customer_count, 0), 4)::numeric(18, 4)
            as lifetime_value,
        {{ ratio(
            'case when joined.new_customer_count > 0 then joined.margin_amount end', 'joined.spend_amount'
        ) }} as ltv_to_cac_ratio,
        (
            12 * (extract(year from paybacks.payback_month) - extract(year from joined.acquisition_month))
            + extract(month from paybacks.payback_month) - extract(month from joined.acquisition_month)
        )::integer as payback_months,

        -- booleans
        channels.is_paid
    from joined
    left join paybacks
        on joined.source_system = paybacks.source_system
        and joined.channel = paybacks.channel
        and joined.acquisition_month = paybacks.acquisition_month
    left join channels on joined.channel = channels.channel
    left join as_of on joined.source_system = as_of.source_system

)

select * from final
