{{ config(
    incremental_strategy='touched_keys',
    unique_key=['source_system', 'product_id', 'snapshot_date'],
    meta={
        'partition_by_month': 'snapshot_date',
        'touched': {'days': ['snapshot_date']},
    },
    indexes=[
        {'columns': ['source_system', 'product_id', 'snapshot_date'], 'unique': true},
        {'columns': ['snapshot_date']},
    ],
) }}

{%- set window = open_window() -%}
{#- A day's stock is compared with the day before: a touched day touches the next one. The day is the last 10 characters of
    the key. -#}
{%- set touched_query -%}
    select
        loaded.source_system,
        left(loaded.key, -11) as product_id,
        right(loaded.key, 10)::date + days.later as snapshot_date
    from ({{ touched_by_loads(window, 'inventory') }}) as loaded
    cross join (values (0), (1)) as days (later)
    -- a rejected row may say `infinity` where its day should be; no row that counts does
    where loaded.key ~ '[|][0-9]{4}-[0-9]{2}-[0-9]{2}$'
    union all
    -- days inside an interval of their product that changed
    select stocks.source_system, stocks.product_id, stocks.snapshot_date
    from ({{ touched_by(window, 'dim_products') }}) as products
    inner join {{ this }} as stocks
        on products.source_system = stocks.source_system
        and products.key = stocks.product_id
        and stocks.ended_at > products.changed_from
{%- endset -%}
{%- set touched = touched_keys(
    window, ['source_system', 'product_id', 'snapshot_date'], touched_query, days=['snapshot_date']) -%}
{%- set read_query -%}
    select source_system, product_id, snapshot_date - days.before as snapshot_date
    from {{ touched.table }}
    cross join (values (0), (1)) as days (before)
{%- endset -%}
{%- set read_days = touched_keys(
    window, ['source_system', 'product_id', 'snapshot_date'], read_query, days=['snapshot_date'], name='read_days') %}

with delivered as (
    select * from {{ ref('stg_inventory') }}
    where {{ is_touched(read_days) }}
),

products as (
    select * from {{ ref('dim_products') }}
),

versions as (
    select
        *,
        row_number() over (
            partition by source_system, product_id, snapshot_date
            order by {{ latest_version_first() }}
        ) as recency
    from delivered
),

stocks as (
    select
        *,
        (snapshot_date + 1)::timestamp at time zone {{ source_time_zone('source_system') }} as ended_at,
        lag(snapshot_date) over previous_days as previous_date,
        lag(on_hand_quantity) over previous_days as previous_quantity
    from versions
    where recency = 1
    window previous_days as (partition by source_system, product_id order by snapshot_date)
),

touched_stocks as (
    select * from stocks
    where {{ is_touched(touched) }}
)

select
    {{ surrogate_key(['touched_stocks.source_system', 'touched_stocks.product_id', 'touched_stocks.snapshot_date']) }}
        as inventory_key,
    touched_stocks.source_system,
    touched_stocks.product_id,
    products.product_key,
    touched_stocks.snapshot_date,
    touched_stocks.ended_at,

    touched_stocks.on_hand_quantity::bigint as on_hand_quantity,
    touched_stocks.received_quantity::bigint as received_quantity,
    touched_stocks.sold_quantity::bigint as sold_quantity,
    touched_stocks.on_hand_quantity = 0 as is_stocked_out,
    -- the first of a month is a recount, and a day after a missing one follows from nothing known
    coalesce(
        touched_stocks.previous_date = touched_stocks.snapshot_date - 1
        and extract(day from touched_stocks.snapshot_date) > 1
        and touched_stocks.on_hand_quantity
        <> touched_stocks.previous_quantity + touched_stocks.received_quantity - touched_stocks.sold_quantity,
        false
    ) as has_stock_mismatch,

    products.cost::numeric(18, 4) as unit_cost,
    {{ source_currency('touched_stocks.source_system') }} as currency,
    (touched_stocks.on_hand_quantity * products.cost)::numeric(18, 4) as stock_cost_amount
from touched_stocks
left join products
    on touched_stocks.source_system = products.source_system
    and touched_stocks.product_id = products.product_id
    and touched_stocks.ended_at > products.valid_from
    and touched_stocks.ended_at <= products.valid_to
