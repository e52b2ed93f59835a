{{ config(unique_key=['source_system', 'customer_id']) }}

with

customers as (

    select * from {{ ref('customer_summary') }}
    where frequency > 0

),

totals as (

    select * from {{ ref('int_customer_totals') }}
    where kept_order_count > 0

),

churn_priors as (

    select
        max(weight) filter (where churn_prior = 'stopping') as stopping,
        max(weight) filter (where churn_prior = 'staying') as staying
    from {{ ref('churn_priors') }}

),

-- The shop's rhythm: days between two standing orders of one customer, over all such gaps.

rhythms as (

    select
        source_system,
        sum(last_kept_order_date - first_kept_order_date)::numeric / nullif(sum(kept_order_count - 1), 0) as gap_days
    from totals
    group by source_system

),

measured as (

    select
        customers.*,
        totals.first_kept_order_date,
        totals.last_kept_order_date,
        totals.last_kept_order_date - totals.first_kept_order_date as active_days,
        totals.last_kept_order_date - totals.first_kept_order_date + customers.recency_days as observed_days,
        -- a shop whose only gaps are within one day has no rhythm either
        nullif(rhythms.gap_days, 0) as shop_gap_days
    from customers
    inner join totals
        on customers.source_system = totals.source_system
        and customers.customer_id = totals.customer_id
    inner join rhythms on customers.source_system = rhythms.source_system

),

-- The customer's own gaps and one of the shop's: with few orders the shop's rhythm counts, with many the own.

expected as (

    select
        *,
        (shop_gap_days + active_days) / frequency as expected_gap_days
    from measured

),

final as (

    select
        -- ids
        expected.source_system,
        expected.customer_id,

        -- text
        expected.currency,

        -- dates
        expected.first_kept_order_date,
        expected.last_kept_order_date,
        (expected.last_kept_order_date + round(expected.expected_gap_days)::integer) as expected_next_order_date,
        expected.as_of_date,

        -- numbers
        expected.frequency as order_count,
        expected.gross_amount as historic_gross_amount,
        expected.net_amount as historic_net_amount,
        expected.margin_amount as historic_margin_amount,
        {{ ratio('expected.margin_amount', 'expected.net_amount') }} as margin_rate,
        expected.average_order_value,
        expected.monetary_score as ltv_score,
        round(expected.expected_gap_days, 4)::numeric(18, 4) as expected_days_between_orders,
        round(expected.shop_gap_days, 4)::numeric(18, 4) as shop_days_between_orders,
        {{ churn_risk(
            'expected.frequency', 'expected.active_days', 'expected.observed_days', 'expected.shop_gap_days',
            'churn_priors.stopping', 'churn_priors.staying'
        ) }} as churn_risk,

        -- booleans
        expected.as_of_date
        > expected.last_kept_order_date + round(expected.expected_gap_days)::integer as is_overdue
    from expected
    cross join churn_priors

)

select * from final
