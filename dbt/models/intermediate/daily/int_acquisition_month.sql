{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'month', 'acquisition_month', 'channel'],
        meta={'touched': {'days': ['month']}},
        indexes=[{'columns': ['source_system', 'month', 'acquisition_month', 'channel'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_months -%}
    select source_system, day as month from ({{ touched_by(window, 'int_customer_month') }}) as customer_months
    union all
    -- a customer who came at another time, or by another channel, takes all his months along
    select customer_months.source_system, customer_months.month
    from ({{ touched_by(window, 'int_customer_acquisition') }}) as acquisitions
    inner join {{ ref('int_customer_month') }} as customer_months
        on acquisitions.source_system = customer_months.source_system
        and acquisitions.customer_id = customer_months.customer_id
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'month'], touched_months, days=['month']) %}

with

customer_months as (

    select * from {{ ref('int_customer_month') }}
    where {{ is_touched(touched) }}

),

acquisitions as (

    select * from {{ ref('int_customer_acquisition') }}

),

-- Who never placed an order (cancellation documents alone) came before the record begins and has no month.

customers as (

    select
        source_system,
        customer_id,
        acquisition_channel,
        date_trunc('month', first_order_date::timestamp)::date as acquisition_month
    from acquisitions
    where first_order_date is not null

),

summed as (

    select
        -- ids
        customer_months.source_system,
        customer_months.month,
        customers.acquisition_month,
        customers.acquisition_channel as channel,

        -- numbers
        count(*) filter (where customer_months.order_count > 0) as customer_count,
        {{ sum_measures(prefix='customer_months.') }}
    from customer_months
    inner join customers
        on customer_months.source_system = customers.source_system
        and customer_months.customer_id = customers.customer_id
    group by 1, 2, 3, 4

)

select * from summed
