{{ config(
    incremental_strategy='touched_keys',
    unique_key='customer_key',
    meta={'touched': {'key': 'customer_id', 'interval': ['valid_from', 'valid_to']}},
    indexes=[{'columns': ['source_system', 'customer_id', 'valid_from'], 'unique': true}],
) }}

{%- set window = open_window() -%}
{%- set touched_query -%}
    select source_system, key as customer_id from ({{ touched_by_loads(window, 'customers') }}) as customers
{%- endset -%}
{%- set touched = touched_keys(window, ['source_system', 'customer_id'], touched_query) -%}
{#- Orders are only asked about customers of whom nothing was delivered. -#}
{%- set unknown_query -%}
    select source_system, customer_id from {{ touched.table }}
    except
    select source_system, customer_id from {{ ref('stg_customers') }} where {{ is_touched(touched) }}
{%- endset -%}
{%- set unknown = touched_keys(window, ['source_system', 'customer_id'], unknown_query, name='unknown') %}

{%- set attributes = [
    'first_name', 'last_name', 'email', 'phone', 'address', 'city', 'state', 'zip_code', 'country',
    'registration_date', 'customer_segment', 'birth_date', 'gender', 'acquisition_channel',
    'is_marketing_opt_in',
] %}

with delivered as (
    select * from {{ ref('stg_customers') }}
    where {{ is_touched(touched) }}
),

ordering as (
    select distinct source_system, customer_id from {{ ref('stg_orders') }}
    where customer_id is not null and {{ is_touched(unknown) }}
),

{{ type_2_intervals('customer_id', attributes) }},

-- a customer who ordered but was not delivered yet: the facts need something to point at
inferred as (
    select source_system, customer_id from ordering
    except
    select source_system, customer_id from delivered
),

united as (
    select
        source_system,
        customer_id,
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
        customer_id,
        null as version_at,
        {% for attribute in attributes %}null as {{ attribute }},
        {% endfor -%}
        '-infinity' as valid_from,
        'infinity' as valid_to,
        true as is_inferred
    from inferred
)

select
    {{ surrogate_key(['source_system', 'customer_id', utc_text('version_at')]) }} as customer_key,
    source_system,
    customer_id,

    first_name,
    last_name,
    email,
    phone,
    address,
    city,
    state,
    zip_code,
    country,
    registration_date,
    customer_segment,
    birth_date,
    gender,
    acquisition_channel,
    is_marketing_opt_in,

    version_at,
    valid_from,
    valid_to,
    valid_to = 'infinity' as is_current,
    is_inferred
from united
