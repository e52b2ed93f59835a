{{ config(unique_key=['source_system', 'product_id']) }}

with

stock_months as (

    select * from {{ ref('int_inventory_month') }}

),

stock_days as (

    select * from {{ ref('fact_inventory_daily') }}

),

products as (

    select * from {{ ref('dim_products') }}
    where is_current

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

planning as (

    select * from {{ ref('stock_planning') }}

),

advices as (

    select * from {{ ref('stock_advices') }}

),

last_months as (

    select distinct on (source_system, product_id)
        source_system,
        product_id,
        last_snapshot_date,
        last_on_hand_quantity,
        last_stock_cost_amount
    from stock_months
    order by source_system asc, product_id asc, month desc

),

-- The month of the as-of date and the eleven before it.

years as (

    select
        stock_months.source_system,
        stock_months.product_id,
        sum(stock_months.stock_day_count)::bigint as stock_day_count,
        sum(stock_months.stocked_out_day_count)::bigint as stocked_out_day_count,
        sum(stock_months.sellable_day_count)::bigint as sellable_day_count,
        sum(stock_months.on_hand_unit_count) as on_hand_unit_count,
        sum(stock_months.sold_unit_count)::bigint as sold_unit_count,
        sum(stock_months.received_unit_count)::bigint as received_unit_count,
        case when sum(stock_months.unknown_cost_count) = 0 then sum(stock_months.stock_cost_amount) end
            as stock_cost_amount,
        case when sum(stock_months.unknown_cost_count) = 0 then sum(stock_months.sold_cost_amount) end
            as sold_cost_amount
    from stock_months
    inner join as_of on stock_months.source_system = as_of.source_system
    where stock_months.month > as_of.as_of_date - interval '12 months'
        and stock_months.month <= as_of.as_of_date
    group by stock_months.source_system, stock_months.product_id

),

-- The last days up to the as-of date. Lateral, so that each shop's dates are known when its days are read, and the
-- partitions of its history are not.

recent as (

    select
        as_of.source_system,
        last_days.*
    from as_of
    cross join planning
    cross join lateral (
        select
            stock_days.product_id,
            count(*) filter (where stock_days.is_stocked_out) as stocked_out_day_count,
            count(*) filter (where {{ is_sellable_day() }}) as sellable_day_count,
            sum(stock_days.sold_quantity)::bigint as sold_unit_count
        from stock_days
        where stock_days.source_system = as_of.source_system
            and stock_days.snapshot_date > as_of.as_of_date - planning.demand_days
            and stock_days.snapshot_date <= as_of.as_of_date
        group by stock_days.product_id
    ) as last_days

),

-- Demand is what is sold on a day on which it can be bought: of the last days, else of the year.

measured as (

    select
        last_months.*,
        as_of.as_of_date,
        coalesce(years.stock_day_count, 0) as stock_day_count,
        coalesce(years.stocked_out_day_count, 0) as stocked_out_day_count,
        coalesce(years.on_hand_unit_count, 0) as on_hand_unit_count,
        coalesce(years.sold_unit_count, 0) as sold_unit_count,
        coalesce(years.received_unit_count, 0) as received_unit_count,
        case when years.stock_day_count is null then 0 else years.stock_cost_amount end as stock_cost_amount,
        case when years.stock_day_count is null then 0 else years.sold_cost_amount end as sold_cost_amount,
        coalesce(recent.stocked_out_day_count, 0) as recent_stocked_out_day_count,
        coalesce(recent.sellable_day_count, 0) as recent_sellable_day_count,
        coalesce(recent.sold_unit_count, 0) as recent_sold_unit_count,
        case
            when recent.sellable_day_count > 0 then recent.sold_unit_count else coalesce(years.sold_unit_count, 0)
        end as demand_unit_count,
        case
            when recent.sellable_day_count > 0 then recent.sellable_day_count
            else coalesce(years.sellable_day_count, 0)
        end as demand_day_count
    from last_months
    inner join as_of on last_months.source_system = as_of.source_system
    left join years
        on last_months.source_system = years.source_system
        and last_months.product_id = years.product_id
    left join recent
        on last_months.source_system = recent.source_system
        and last_months.product_id = recent.product_id

),

-- Whole numbers on both sides of each comparison: a stock lasts n days when it is n days' demand.

advised as (

    select
        measured.*,
        products.product_name,
        products.category,
        products.is_active,
        case
            when products.is_active is false then 'off_sale'
            when measured.demand_unit_count = 0 then 'no_demand'
            when measured.last_on_hand_quantity * measured.demand_day_count
                <= (planning.lead_time_days + planning.safety_days) * measured.demand_unit_count
                then 'reorder_now'
            when measured.last_on_hand_quantity * measured.demand_day_count
                <= (planning.lead_time_days + planning.safety_days + planning.soon_days) * measured.demand_unit_count
                then 'reorder_soon'
            when measured.last_on_hand_quantity * measured.demand_day_count
                > planning.overstock_days * measured.demand_unit_count
                then 'overstocked'
            else 'enough'
        end as reorder_advice,
        ceil(
            (planning.lead_time_days + planning.safety_days + planning.cover_days)
            * measured.demand_unit_count::numeric / nullif(measured.demand_day_count, 0)
        )::bigint - measured.last_on_hand_quantity as missing_unit_count
    from measured
    cross join planning
    left join products
        on measured.source_system = products.source_system
        and measured.product_id = products.product_id

),

final as (

    select
        -- ids
        advised.source_system,
        advised.product_id,

        -- text
        advised.product_name,
        coalesce(advised.category, 'Uncategorised') as category,
        {{ source_currency('advised.source_system') }} as currency,
        advised.reorder_advice,
        advices.suggested_action,

        -- dates
        advised.as_of_date,
        advised.last_snapshot_date as snapshot_date,

        -- numbers: the stock now
        advised.last_on_hand_quantity::bigint as on_hand_quantity,
        advised.last_stock_cost_amount::numeric(18, 4) as stock_cost_amount,

        -- numbers: twelve months
        advised.stock_day_count,
        advised.stocked_out_day_count,
        {{ ratio('advised.stocked_out_day_count', 'advised.stock_day_count') }} as stocked_out_rate,
        advised.sold_unit_count,
        advised.received_unit_count,
        advised.sold_cost_amount::numeric(18, 4) as sold_cost_amount,
        round(advised.on_hand_unit_count / nullif(advised.stock_day_count, 0), 4)::numeric(18, 4)
            as average_on_hand_quantity,
        round(advised.stock_cost_amount / nullif(advised.stock_day_count, 0), 4)::numeric(18, 4)
            as average_stock_cost_amount,
        {{ ratio('advised.sold_cost_amount * 365', 'advised.stock_cost_amount') }} as annual_turnover,

        -- numbers: the last days
        advised.recent_stocked_out_day_count,
        advised.recent_sellable_day_count,
        advised.recent_sold_unit_count,
        {{ ratio('advised.demand_unit_count', 'advised.demand_day_count') }} as daily_demand,
        round(
            advised.last_on_hand_quantity * advised.demand_day_count::numeric / nullif(advised.demand_unit_count, 0), 4
        )::numeric(18, 4) as days_of_supply,
        case
            when advised.reorder_advice in ('reorder_now', 'reorder_soon') then greatest(advised.missing_unit_count, 0)
            else 0
        end::bigint as reorder_quantity,

        -- booleans
        advised.is_active,
        advised.last_on_hand_quantity = 0 as is_stocked_out
    from advised
    inner join advices on advised.reorder_advice = advices.reorder_advice

)

select * from final
