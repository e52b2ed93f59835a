{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'product_id', 'effective_date'],
        meta={'touched': {'key': 'product_id', 'days': ['effective_date']}},
        indexes=[{'columns': ['source_system', 'product_id', 'effective_date'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_changes -%}
    select source_system, product_id, day as effective_date
    from ({{ touched_by(window, 'int_price_changes') }}) as price_changes
    union all
    -- changes with a touched day in one of their windows: what the whole shop sold counts, too
    select price_changes.source_system, price_changes.product_id, price_changes.effective_date
    from (
        select source_system, day from ({{ touched_by(window, 'int_product_day') }}) as product_days
        union
        select source_system, day from ({{ touched_by(window, 'int_sales_day') }}) as sales_days
    ) as days
    inner join {{ ref('int_price_changes') }} as price_changes
        on days.source_system = price_changes.source_system
        and days.day >= least(price_changes.before_start_date, price_changes.after_start_date)
        and days.day <= greatest(price_changes.before_end_date, price_changes.after_end_date)
{%- endset -%}
{%- set touched = touched_keys(
    window, ['source_system', 'product_id', 'effective_date'], touched_changes, days=['effective_date']) %}

with

price_changes as (

    select * from {{ ref('int_price_changes') }}
    where {{ is_touched(touched) }}

),

product_days as (

    select
        *,
        gross_amount - discount_amount as revenue_amount
    from {{ ref('int_product_day') }}

),

sales_days as (

    select * from {{ ref('int_sales_day') }}

),

-- The days of both windows, each found by the index on product and day, whatever the history.

measured as (

    select
        price_changes.source_system,
        price_changes.product_id,
        price_changes.effective_date,
        of_product.*,
        of_shop.*
    from price_changes
    cross join lateral (
        select
            coalesce(sum(product_days.unit_count) filter (
                where product_days.day <= price_changes.before_end_date
            ), 0)::bigint as unit_count_before,
            coalesce(sum(product_days.unit_count) filter (
                where product_days.day >= price_changes.after_start_date
            ), 0)::bigint as unit_count_after,
            coalesce(sum(product_days.revenue_amount) filter (
                where product_days.day <= price_changes.before_end_date
            ), 0)::numeric(18, 4) as revenue_amount_before,
            coalesce(sum(product_days.revenue_amount) filter (
                where product_days.day >= price_changes.after_start_date
            ), 0)::numeric(18, 4) as revenue_amount_after
        from product_days
        where product_days.source_system = price_changes.source_system
            and product_days.product_id = price_changes.product_id
            and product_days.day >= least(price_changes.before_start_date, price_changes.after_start_date)
            and product_days.day <= greatest(price_changes.before_end_date, price_changes.after_end_date)
    ) as of_product
    cross join lateral (
        select
            coalesce(sum(sales_days.unit_count) filter (
                where sales_days.day <= price_changes.before_end_date
            ), 0)::bigint as shop_unit_count_before,
            coalesce(sum(sales_days.unit_count) filter (
                where sales_days.day >= price_changes.after_start_date
            ), 0)::bigint as shop_unit_count_after
        from sales_days
        where sales_days.source_system = price_changes.source_system
            and sales_days.day >= least(price_changes.before_start_date, price_changes.after_start_date)
            and sales_days.day <= greatest(price_changes.before_end_date, price_changes.after_end_date)
    ) as of_shop

)

select * from measured
