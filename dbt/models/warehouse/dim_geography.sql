{{ config(
    incremental_strategy='changed_rows',
    unique_key='geography_key',
    indexes=[{'columns': ['geography_key'], 'unique': true}],
) }}

with customers as (
    select distinct country, state, city from {{ ref('dim_customers') }}
),

places as (
    select country, state, city from customers
    union
    -- where nothing is known: of guests, and of customers who were not delivered
    select null, null, null
)

select
    {{ geography_key('country', 'state', 'city') }} as geography_key,
    country,
    state,
    city,
    num_nonnulls(country, state, city) = 0 as is_unknown
from places
