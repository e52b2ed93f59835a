{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'customer_id', 'month_end'],
        meta={'touched': {'days': ['month_end']}},
        indexes=[
            {'columns': ['source_system', 'customer_id', 'month_end'], 'unique': True},
            {'columns': ['source_system', 'month_end']},
        ],
    )
}}

{%- set window = open_window() -%}
{#- A changed month touches its customer at every complete month-end from then on (so this month's orders touch nothing),
    an as-of date that moved every customer at the month-ends it passed. -#}
{%- set touched_month_ends -%}
    with as_of_dates as (
        select source_system, day from ({{ touched_by(window, 'int_source_as_of') }}) as moved
        union all
        select source_system, as_of_date from {{ ref('int_source_as_of') }}
    ),

    bounds as (
        select source_system, min(day) as first_day, max(day) as last_day from as_of_dates group by source_system
    ),

    changed as (
        select source_system, customer_id, min(day) as first_month
        from ({{ touched_by(window, 'int_customer_month') }}) as months
        group by source_system, customer_id
    ),

    passed as (
        select bounds.source_system, (month + interval '1 month')::date - 1 as month_end
        from bounds
        cross join lateral generate_series(
            date_trunc('month', first_day::timestamp), last_day::timestamp, interval '1 month') as months (month)
        where (month + interval '1 month')::date - 1 > first_day
            and (month + interval '1 month')::date - 1 <= last_day
    )

    select changed.source_system, changed.customer_id, (month + interval '1 month')::date - 1 as month_end
    from changed
    inner join bounds on changed.source_system = bounds.source_system
    cross join lateral generate_series(
        changed.first_month::timestamp, bounds.last_day::timestamp, interval '1 month') as months (month)
    where (month + interval '1 month')::date - 1 <= bounds.last_day
    union all
    select customers.source_system, customers.customer_id, passed.month_end
    from passed
    inner join {{ ref('int_customer_totals') }} as customers on passed.source_system = customers.source_system
{%- endset -%}
{%- set touched = touched_keys(
    window, ['source_system', 'customer_id', 'month_end'], touched_month_ends, days=['month_end']) %}

with

customer_months as (

    select * from {{ ref('int_customer_month') }}
    where {{ is_touched(touched, columns=['source_system', 'customer_id']) }}

),

as_of as (

    select
        source_system,
        (date_trunc('month', (as_of_date + 1)::timestamp) - interval '1 month')::date as last_complete_month
    from {{ ref('int_source_as_of') }}

),

lifecycle_bounds as (

    select max(days) filter (where lifecycle_bound = 'pause') as pause_days
    from {{ ref('lifecycle_bounds') }}

),

-- Between two orders of one month no pause can be a long one: a month's first and last day tell all.

paused as (

    select
        *,
        first_order_date - max(last_order_date) over (
            partition by source_system, customer_id
            order by month
            rows between unbounded preceding and 1 preceding
        ) as days_paused
    from customer_months

),

running as (

    select
        paused.source_system,
        paused.customer_id,
        paused.month,
        lead(paused.month) over by_customer as next_month,
        min(paused.first_order_date) over by_customer as first_order_date,
        max(paused.last_order_date) over by_customer as last_order_date,
        max(paused.last_kept_order_date) over by_customer as last_kept_order_date,
        max(case when paused.days_paused > lifecycle_bounds.pause_days then paused.first_order_date end)
            over by_customer as comeback_date,
        sum(paused.order_count) over by_customer as order_count,
        sum(paused.kept_order_count) over by_customer as kept_order_count,
        sum(paused.gross_amount - paused.discount_amount) over by_customer as ordered_amount,
        sum(
            {{ net_amount(
                'paused.gross_amount', 'paused.discount_amount', 'paused.cancelled_amount', 'paused.refund_amount'
            ) }}
        ) over by_customer as net_amount
    from paused
    cross join lifecycle_bounds
    window by_customer as (partition by paused.source_system, paused.customer_id order by paused.month)

),

-- What was true at the end of a month stays true until the next month with anything in it.

month_ends as (

    select
        running.*,
        (months.month_start + interval '1 month')::date - 1 as month_end
    from running
    inner join as_of on running.source_system = as_of.source_system
    cross join lateral generate_series(
        running.month::timestamp,
        least(
            running.next_month::timestamp - interval '1 month',
            as_of.last_complete_month::timestamp
        ),
        interval '1 month'
    ) as months (month_start)
    where running.first_order_date is not null

),

final as (

    select
        -- ids
        source_system,
        customer_id,
        month_end,

        -- dates
        first_order_date,
        last_order_date,
        last_kept_order_date,
        comeback_date,

        -- numbers
        order_count::bigint as order_count,
        kept_order_count::bigint as kept_order_count,
        ordered_amount::numeric(18, 4) as ordered_amount,
        net_amount::numeric(18, 4) as net_amount
    from month_ends
    where {{ is_touched(touched) }}

)

select * from final
