{{
    config(
        materialized='incremental',
        incremental_strategy='touched_keys',
        unique_key=['source_system', 'period_type', 'period_start'],
        indexes=[{'columns': ['source_system', 'period_type', 'period_start'], 'unique': True}],
    )
}}

{%- set window = open_window() -%}
{%- set touched_days = touched_by(window, 'int_customer_day') -%}
{%- set periods = {} -%}
{%- for period in ['day', 'week', 'month', 'quarter'] -%}
    {%- set starts -%}
        select source_system, date_trunc('{{ period }}', day::timestamp)::date as {{ period }}
        from ({{ touched_days }}) as customer_days
    {%- endset -%}
    {%- do periods.update({
        period: touched_keys(window, ['source_system', period], starts, days=[period], name=period)
    }) -%}
{%- endfor -%}
{%- set touched_periods -%}
    select source_system, period_type, date_trunc(period_type, day::timestamp)::date as period_start
    from ({{ touched_days }}) as customer_days
    cross join (values ('day'), ('week'), ('month'), ('quarter')) as period_types (period_type)
{%- endset -%}
{%- set touched = touched_keys(
    window, ['source_system', 'period_type', 'period_start'], touched_periods, days=['period_start']) %}

with

customer_days as not materialized (

    select * from {{ ref('int_customer_day') }}
    where order_count > 0

),

customer_months as not materialized (

    select * from {{ ref('int_customer_month') }}
    where order_count > 0

),

-- Customers are not additive: one who comes on two days is one customer of the week.

days as (

    select
        source_system,
        'day' as period_type,
        day as period_start,
        count(*) as customer_count
    from customer_days
    where {{ is_in_touched_periods(periods.day, 'day', 'day') }}
    group by 1, 2, 3

),

weeks as (

    select
        source_system,
        'week' as period_type,
        date_trunc('week', day::timestamp)::date as period_start,
        count(distinct customer_id) as customer_count
    from customer_days
    where {{ is_in_touched_periods(periods.week, 'day', 'week') }}
    group by 1, 2, 3

),

months as (

    select
        source_system,
        'month' as period_type,
        month as period_start,
        count(*) as customer_count
    from customer_months
    where {{ is_in_touched_periods(periods.month, 'month', 'month') }}
    group by 1, 2, 3

),

quarters as (

    select
        source_system,
        'quarter' as period_type,
        date_trunc('quarter', month::timestamp)::date as period_start,
        count(distinct customer_id) as customer_count
    from customer_months
    where {{ is_in_touched_periods(periods.quarter, 'month', 'quarter') }}
    group by 1, 2, 3

),

united as (

    select * from days
    union all
    select * from weeks
    union all
    select * from months
    union all
    select * from quarters

),

final as (

    select * from united
    where {{ is_touched(touched) }}

)

select * from final
