{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'customer_id'],
        indexes=[{'columns': ['source_system', 'customer_id'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_customers -%}
    select source_system, customer_id from ({{ touched_by(window, 'int_customer_month') }}) as months
    union all
    select source_system, customer_id from ({{ touched_by(window, 'int_customer_category') }}) as categories
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'customer_id'], touched_customers) %}

with

months as (

    select * from {{ ref('int_customer_month') }}
    where {{ is_touched(touched) }}

),

categories as (

    select * from {{ ref('int_customer_category') }}
    where {{ is_touched(touched) }}

),

totals as (

    select
        -- ids
        source_system,
        customer_id,

        -- dates
        min(first_order_date) as first_order_date,
        max(last_order_date) as last_order_date,
        -- the second of the first month, or the first of the next
        least(
            (array_agg(first_order_date order by first_order_date) filter (where first_order_date is not null))[2],
            min(repeat_order_date)
        ) as repeat_order_date,
        min(first_kept_order_date) as first_kept_order_date,
        max(last_kept_order_date) as last_kept_order_date,

        -- numbers
        {{ sum_measures() }}
    from months
    group by source_system, customer_id

),

-- Most was spent in it; of equals the one with more units, then the first by name.

favourites as (

    select distinct on (source_system, customer_id)
        source_system,
        customer_id,
        category as favourite_category
    from categories
    order by source_system asc, customer_id asc, spent_amount desc, unit_count desc, category collate "C" asc

),

final as (

    select
        totals.*,
        favourites.favourite_category
    from totals
    left join favourites
        on totals.source_system = favourites.source_system
        and totals.customer_id = favourites.customer_id

)

select * from final
