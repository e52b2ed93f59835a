{{ config(
    incremental_strategy='touched_keys',
    unique_key=['source_system', 'payment_id'],
    meta={
        'partition_by_month': 'paid_date',
        'touched': {'key': 'payment_id', 'days': ['paid_date']},
    },
    indexes=[
        {'columns': ['source_system', 'payment_id', 'paid_date'], 'unique': true},
        {'columns': ['source_system', 'order_id']},
        {'columns': ['paid_date']},
    ],
) }}

{%- set window = open_window() -%}
{#- An order's attempts are numbered together: whole orders are replaced. -#}
{%- set payment_query -%}
    select source_system, key as payment_id from ({{ touched_by_loads(window, 'payments') }}) as payments
{%- endset -%}
{%- set loaded_payments = touched_keys(window, ['source_system', 'payment_id'], payment_query, name='loaded_payments') -%}
{%- set touched_query -%}
    select source_system, key as order_id from ({{ touched_by_loads(window, 'paid_orders') }}) as paid_orders
    union all
    -- the order that a payment belonged to in another version
    select source_system, order_id from {{ ref('stg_payments') }} where {{ is_touched(loaded_payments) }}
    union all
    select source_system, key as order_id from ({{ touched_by(window, 'fact_orders') }}) as orders
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'order_id'], touched_query) -%}
{#- Whether a payment is the order's own is decided by its latest version, so all its versions are needed. -#}
{%- set order_payments_query -%}
    select source_system, payment_id from {{ ref('stg_payments') }} where {{ is_touched(touched) }}
{%- endset -%}
{%- set payments = touched_keys(window, ['source_system', 'payment_id'], order_payments_query, name='payments') %}

with delivered as (
    select * from {{ ref('stg_payments') }}
    where {{ is_touched(payments) }}
),

-- materialized: else every partition is asked for every payment
orders as {{ 'materialized ' if touched.mode == 'some' }}(
    select * from {{ ref('fact_orders') }}
    where {{ is_touched(touched) }}
),

versions as (
    select
        *,
        row_number() over (
            partition by source_system, payment_id
            order by {{ latest_version_first() }}
        ) as recency
    from delivered
),

-- a payment whose order is not there waits: counted in flagged_rows, here as soon as the order is
payments as (
    select
        versions.source_system,
        versions.payment_id,
        versions.order_id,
        versions.payment_method,
        versions.payment_status,
        versions.amount,
        versions.paid_at,
        versions.paid_date,
        orders.order_key,
        orders.customer_id,
        orders.customer_key,
        orders.order_date,
        orders.ordered_at,
        orders.is_guest,
        orders.currency,
        -- paying back is no attempt to pay
        case
            when versions.payment_status <> 'refunded'
                then row_number() over (
                    partition by versions.source_system, versions.order_id, versions.payment_status = 'refunded'
                    order by versions.paid_at, versions.payment_id collate "C"
                )
        end as attempt_number
    from versions
    inner join orders
        on versions.source_system = orders.source_system
        and versions.order_id = orders.order_id
    where versions.recency = 1
)

select
    {{ surrogate_key(['source_system', 'payment_id']) }} as payment_key,
    source_system,
    payment_id,
    order_id,
    order_key,
    customer_id,
    customer_key,

    paid_date,
    paid_at,
    order_date,
    ordered_at,

    payment_method,
    payment_status,
    attempt_number::integer as attempt_number,
    coalesce(attempt_number > 1, false) as is_retry,
    is_guest,

    currency,
    amount::numeric(18, 4) as amount,
    (case when payment_status = 'captured' then amount else 0 end)::numeric(18, 4) as captured_amount,
    (case when payment_status = 'failed' then amount else 0 end)::numeric(18, 4) as failed_amount,
    (case when payment_status = 'refunded' then amount else 0 end)::numeric(18, 4) as paid_back_amount
from payments
