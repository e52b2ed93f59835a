{{ config(
    incremental_strategy='touched_keys',
    unique_key='product_key',
    meta={'touched': {'key': 'product_id', 'interval': ['valid_from', 'valid_to']}},
    indexes=[{'columns': ['source_system', 'product_id', 'valid_from'], 'unique': true}],
) }}

{%- set window = open_window() -%}
{%- set touched_query -%}
    select source_system, key as product_id from ({{ touched_by_loads(window, 'products') }}) as products
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'product_id'], touched_query) -%}
{#- Orders are only asked about products of which nothing was delivered. -#}
{%- set unknown_query -%}
    select source_system, product_id from {{ touched.table }}
    except
    select source_system, product_id from {{ ref('stg_products') }} where {{ is_touched(touched) }}
{%- endset -%}
{%- set unknown = touched_keys(window, ['source_system', 'product_id'], unknown_query, name='unknown') %}

{%- set attributes = [
    'product_name', 'category', 'subcategory', 'brand', 'price', 'cost', 'weight', 'dimensions', 'description',
    'created_date', 'is_active',
] %}

with products as (
    select * from {{ ref('stg_products') }}
    where {{ is_touched(touched) }}
),

sold as (
    select distinct source_system, product_id from {{ ref('stg_order_items') }}
    where product_id is not null and {{ is_touched(unknown) }}
),

-- 1.5 and 1.50 are one price: typed before versions are compared
delivered as (
    select
        source_system,
        product_id,
        product_name,
        category,
        subcategory,
        brand,
        price::numeric(18, 4) as price,
        cost::numeric(18, 4) as cost,
        weight::numeric(12, 4) as weight,
        dimensions,
        description,
        created_date,
        is_active,
        version_at,
        _business_date,
        _path,
        _line_number
    from products
),

{{ type_2_intervals('product_id', attributes) }},

-- a product that was sold but not delivered yet: the facts need something to point at
inferred as (
    select source_system, product_id from sold
    except
    select source_system, product_id from delivered
),

united as (
    select
        source_system,
        product_id,
        version_at,
        {% for attribute in attributes %}{{ attribute }},
        {% endfor -%}
        valid_from,
        valid_to,
        false as is_inferred
    from intervals

    union all

    select
        source_system,
        product_id,
        null as version_at,
        {% for attribute in attributes %}null as {{ attribute }},
        {% endfor -%}
        '-infinity' as valid_from,
        'infinity' as valid_to,
        true as is_inferred
    from inferred
)

select
    {{ surrogate_key(['source_system', 'product_id', utc_text('version_at')]) }} as product_key,
    source_system,
    product_id,

    product_name,
    category,
    subcategory,
    brand,
    price::numeric(18, 4) as price,
    cost::numeric(18, 4) as cost,
    weight::numeric(12, 4) as weight,
    dimensions,
    description,
    created_date,
    is_active,

    version_at,
    valid_from,
    valid_to,
    valid_to = 'infinity' as is_current,
    is_inferred
from united
