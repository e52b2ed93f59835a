{{ config(
    materialized='incremental',
    incremental_strategy='touched_keys',
    unique_key=['source_system', 'event_id'],
    indexes=[{'columns': ['source_system', 'event_id'], 'unique': true}],
) }}

{%- set window = open_window() -%}
{#- Customers and products that are known no more: only then are the events asked who named them. -#}
{%- set gone_customers_query -%}
    select source_system, key as customer_id from ({{ touched_by(window, 'dim_customers') }}) as customers
    except
    select source_system, customer_id from {{ ref('dim_customers') }} where not is_inferred
{%- endset -%}
{%- set gone_customers = touched_keys(window, ['source_system', 'customer_id'], gone_customers_query, name='customers') -%}
{%- set gone_products_query -%}
    select source_system, key as product_id from ({{ touched_by(window, 'dim_products') }}) as products
    except
    select source_system, product_id from {{ ref('dim_products') }} where not is_inferred
{%- endset -%}
{%- set gone_products = touched_keys(window, ['source_system', 'product_id'], gone_products_query, name='products') -%}
{%- set touched_query -%}
    select source_system, key as event_id from ({{ touched_by_loads(window, 'web_events') }}) as events
    union all
    -- flagged events whose customer or product came meanwhile
    select events.source_system, events.event_id
    from ({{ touched_by(window, 'dim_customers') }}) as customers
    inner join {{ this }} as events
        on customers.source_system = events.source_system
        and customers.key = events.customer_id
    union all
    select events.source_system, events.event_id
    from ({{ touched_by(window, 'dim_products') }}) as products
    inner join {{ this }} as events
        on products.source_system = events.source_system
        and products.key = events.product_id
    union all
    select source_system, event_id from {{ ref('stg_web_events') }}
    where {{ is_touched(gone_customers) }} or {{ is_touched(gone_products) }}
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'event_id'], touched_query) %}

with delivered as (
    select * from {{ ref('stg_web_events') }}
    where {{ is_touched(touched) }}
),

customers as (
    select distinct source_system, customer_id from {{ ref('dim_customers') }}
    where not is_inferred
),

products as (
    select distinct source_system, product_id from {{ ref('dim_products') }}
    where not is_inferred
),

versions as (
    select
        source_system,
        event_id,
        customer_id,
        product_id,
        row_number() over (
            partition by source_system, event_id
            order by {{ latest_version_first() }}
        ) as recency,
        count(*) over (partition by source_system, event_id) as version_count
    from delivered
),

compared as (
    select
        versions.source_system,
        versions.event_id,
        versions.customer_id,
        versions.product_id,
        versions.version_count,
        versions.customer_id is not null and customers.customer_id is null as is_customer_unknown,
        versions.product_id is not null and products.product_id is null as is_product_unknown
    from versions
    left join customers
        on versions.source_system = customers.source_system
        and versions.customer_id = customers.customer_id
    left join products
        on versions.source_system = products.source_system
        and versions.product_id = products.product_id
    where versions.recency = 1
)

select *
from compared
where version_count > 1 or is_customer_unknown or is_product_unknown
