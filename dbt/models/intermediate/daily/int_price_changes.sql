{{
    config(
        materialized='incremental',
        incremental_strategy='changed_rows',
        unique_key=['source_system', 'product_id', 'effective_date'],
        meta={'touched': {'key': 'product_id', 'days': ['effective_date']}},
        indexes=[
            {'columns': ['source_system', 'product_id', 'effective_date'], 'unique': True},
            {'columns': ['source_system', 'effective_date']},
        ],
    )
}}

with

products as (

    select
        *,
        valid_from at time zone {{ source_time_zone('source_system') }} as local_valid_from
    from {{ ref('dim_products') }}
    where price is not null

),

bounds as (

    select * from {{ ref('price_effect_bounds') }}

),

sales_days as (

    select * from {{ ref('int_sales_day') }}

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

shops as (

    select
        source_system,
        min(day) as first_sales_date
    from sales_days
    where order_count > 0
    group by source_system

),

-- The first day on which a version was valid from midnight on. A change within a day leaves that day to neither price.

versions as (

    select
        *,
        local_valid_from::date as valid_from_date,
        local_valid_from::date + (local_valid_from > date_trunc('day', local_valid_from))::integer as effective_date
    from products

),

-- Of several versions that take effect on one day the last one stays.

daily_versions as (

    select distinct on (source_system, product_id, effective_date)
        source_system,
        product_id,
        effective_date,
        price,
        is_active,
        created_date,
        min(valid_from_date) over (partition by source_system, product_id, effective_date) as valid_from_date
    from versions
    order by source_system asc, product_id asc, effective_date asc, valid_from desc

),

compared as (

    select
        *,
        lag(price) over by_date as old_price,
        lag(is_active) over by_date as was_active
    from daily_versions
    window by_date as (partition by source_system, product_id order by effective_date)

),

-- What was sold at one price and on one state of being on sale lies between two boundaries.

boundaries as (

    select
        *,
        lag(effective_date) over by_date as previous_effective_date,
        lead(valid_from_date) over by_date - 1 as last_effective_date
    from compared
    where price is distinct from old_price
        or is_active is distinct from was_active
    window by_date as (partition by source_system, product_id order by effective_date)

),

changes as (

    select
        -- ids
        boundaries.source_system,
        boundaries.product_id,

        -- dates
        boundaries.effective_date,
        greatest(
            boundaries.valid_from_date - bounds.max_window_days,
            boundaries.previous_effective_date,
            boundaries.created_date,
            shops.first_sales_date
        ) as before_start_date,
        boundaries.valid_from_date - 1 as before_end_date,
        boundaries.effective_date as after_start_date,
        least(
            boundaries.effective_date + bounds.max_window_days - 1,
            boundaries.last_effective_date,
            as_of.as_of_date
        ) as after_end_date,

        -- numbers
        boundaries.old_price::numeric(18, 4) as old_price,
        boundaries.price::numeric(18, 4) as new_price,

        -- booleans
        boundaries.is_active,
        least(boundaries.effective_date + bounds.max_window_days - 1, boundaries.last_effective_date)
        <= as_of.as_of_date as is_complete
    from boundaries
    cross join bounds
    inner join as_of on boundaries.source_system = as_of.source_system
    left join shops on boundaries.source_system = shops.source_system
    where boundaries.old_price <> boundaries.price
        and boundaries.effective_date <= as_of.as_of_date

)

select * from changes
