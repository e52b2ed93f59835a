{{ config(unique_key=['source_system', 'customer_id']) }}

with

customers as (

    select * from {{ ref('dim_customers') }}
    where is_current

),

totals as (

    select * from {{ ref('int_customer_totals') }}

),

sales_days as (

    select * from {{ ref('int_sales_day') }}

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

rfm_segments as (

    select * from {{ ref('rfm_segments') }}

),

health_parts as (

    select * from {{ ref('health_parts') }}

),

activity_statuses as (

    select
        *,
        lead(min_recency_days) over (order by min_recency_days) as next_min_recency_days
    from {{ ref('activity_statuses') }}

),

currencies as (

    select
        source_system,
        min(currency) as currency
    from sales_days
    group by source_system

),

measured as (

    select
        customers.*,
        currencies.currency,
        as_of.as_of_date,
        totals.first_order_date,
        totals.last_order_date,
        totals.last_kept_order_date,
        totals.favourite_category,
        coalesce(totals.order_count, 0) as order_count,
        coalesce(totals.kept_order_count, 0) as kept_order_count,
        coalesce(totals.cancelled_order_count, 0) as cancelled_order_count,
        coalesce(totals.unit_count, 0) as unit_count,
        coalesce(totals.cancelled_unit_count, 0) as cancelled_unit_count,
        coalesce(totals.returned_unit_count, 0) as returned_unit_count,
        coalesce(totals.gross_amount, 0) as gross_amount,
        coalesce(totals.discount_amount, 0) as discount_amount,
        coalesce(totals.cancelled_amount, 0) as cancelled_amount,
        coalesce(totals.refund_amount, 0) as refund_amount,
        coalesce(totals.fee_amount, 0) as fee_amount,
        coalesce(totals.adjustment_amount, 0) as adjustment_amount,
        coalesce(totals.shipping_amount, 0) as shipping_amount,
        coalesce(totals.tax_amount, 0) as tax_amount,
        case
            when coalesce(totals.unknown_cost_count, 0) = 0
                then coalesce(
                    {{ kept_cost('totals.cost_amount', 'totals.cancelled_cost_amount', 'totals.returned_cost_amount') }}, 0
                )
        end as kept_cost_amount,
        coalesce(
            {{ net_amount(
                'totals.gross_amount', 'totals.discount_amount', 'totals.cancelled_amount', 'totals.refund_amount'
            ) }}, 0
        ) as net_amount,
        -- never below 0, and null without an order (greatest() of a null and 0 would be 0)
        greatest(as_of.as_of_date, totals.last_kept_order_date) - totals.last_kept_order_date as recency_days,
        greatest(as_of.as_of_date, customers.registration_date, totals.first_order_date)
        - coalesce(customers.registration_date, totals.first_order_date) as tenure_days,
        round(
            (totals.last_kept_order_date - totals.first_kept_order_date)::numeric
            / nullif(totals.kept_order_count - 1, 0), 4
        ) as average_days_between_orders
    from customers
    left join totals
        on customers.source_system = totals.source_system
        and customers.customer_id = totals.customer_id
    left join currencies on customers.source_system = currencies.source_system
    left join as_of on customers.source_system = as_of.source_system

),

{{ rfm_steps('measured', 'source_system') }},

-- By what had happened by the day: orders placed, and how much of their value was kept.

parts as (

    select
        {{ health_bounds() }}
    from health_parts

),

health as (

    select
        measured.source_system,
        measured.customer_id,
        {{ health_points(
            'recency', 'greatest(0, measured.as_of_date - measured.last_order_date)'
        ) }} as health_recency_points,
        {{ health_points('frequency', 'measured.order_count') }} as health_frequency_points,
        {{ health_points(
            'kept', kept_share('measured.net_amount', '(measured.gross_amount - measured.discount_amount)')
        ) }} as health_kept_points
    from measured
    cross join parts
    where measured.order_count > 0

),

final as (

    select
        -- ids
        measured.source_system,
        measured.customer_id,
        measured.customer_key,

        -- text
        measured.first_name,
        measured.last_name,
        measured.email,
        measured.city,
        measured.state,
        measured.zip_code,
        measured.country,
        measured.gender,
        measured.customer_segment,
        measured.acquisition_channel,
        measured.favourite_category,
        case
            when measured.kept_order_count = 0 then 'no_orders'
            else activity_statuses.activity_status
        end as activity_status,
        segmented.rfm_segment,
        measured.currency,

        -- dates
        measured.birth_date,
        measured.registration_date,
        measured.first_order_date,
        measured.last_order_date,
        measured.as_of_date,

        -- numbers
        measured.order_count,
        measured.cancelled_order_count,
        measured.unit_count,
        measured.cancelled_unit_count,
        measured.returned_unit_count,
        measured.gross_amount::numeric(18, 4) as gross_amount,
        measured.discount_amount::numeric(18, 4) as discount_amount,
        measured.cancelled_amount::numeric(18, 4) as cancelled_amount,
        measured.refund_amount::numeric(18, 4) as refund_amount,
        measured.net_amount::numeric(18, 4) as net_amount,
        measured.fee_amount::numeric(18, 4) as fee_amount,
        measured.adjustment_amount::numeric(18, 4) as adjustment_amount,
        measured.shipping_amount::numeric(18, 4) as shipping_amount,
        measured.tax_amount::numeric(18, 4) as tax_amount,
        measured.kept_cost_amount::numeric(18, 4) as cost_amount,
        (measured.net_amount - measured.kept_cost_amount)::numeric(18, 4) as margin_amount,
        {{ average_order_value(
            'measured.gross_amount', 'measured.discount_amount', 'measured.order_count'
        ) }}::numeric(18, 4) as average_order_value,
        measured.average_days_between_orders::numeric(18, 4) as average_days_between_orders,
        measured.tenure_days,
        measured.recency_days,
        measured.kept_order_count as frequency,
        measured.net_amount::numeric(18, 4) as monetary_amount,
        segmented.recency_score,
        segmented.frequency_score,
        segmented.monetary_score,
        segmented.frequency_monetary_score,
        health.health_recency_points,
        health.health_frequency_points,
        health.health_kept_points,
        (health.health_recency_points + health.health_frequency_points + health.health_kept_points)::numeric(9, 6)
            as health_score,

        -- booleans
        measured.is_marketing_opt_in,
        measured.is_inferred
    from measured
    left join segmented
        on measured.source_system = segmented.source_system
        and measured.customer_id = segmented.customer_id
    left join health
        on measured.source_system = health.source_system
        and measured.customer_id = health.customer_id
    left join activity_statuses
        on measured.recency_days >= activity_statuses.min_recency_days
        and (
            measured.recency_days < activity_statuses.next_min_recency_days
            or activity_statuses.next_min_recency_days is null
        )

)

select * from final
