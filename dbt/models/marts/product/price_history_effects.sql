{{ config(unique_key=['source_system', 'product_id', 'effective_date']) }}

with

price_changes as (

    select * from {{ ref('int_price_changes') }}

),

change_sales as (

    select * from {{ ref('int_price_change_sales') }}

),

products as (

    select * from {{ ref('dim_products') }}
    where is_current

),

bounds as (

    select * from {{ ref('price_effect_bounds') }}

),

measured as (

    select
        price_changes.*,
        change_sales.unit_count_before,
        change_sales.unit_count_after,
        change_sales.revenue_amount_before,
        change_sales.revenue_amount_after,
        change_sales.shop_unit_count_before,
        change_sales.shop_unit_count_after,
        greatest(price_changes.before_end_date - price_changes.before_start_date + 1, 0) as day_count_before,
        greatest(price_changes.after_end_date - price_changes.after_start_date + 1, 0) as day_count_after
    from price_changes
    inner join change_sales
        on price_changes.source_system = change_sales.source_system
        and price_changes.product_id = change_sales.product_id
        and price_changes.effective_date = change_sales.effective_date

),

-- An elasticity can be had where both windows are long enough and hold enough sales, at prices above zero.

compared as (

    select
        measured.*,
        least(measured.day_count_before, measured.day_count_after) >= bounds.min_window_days
        and least(measured.unit_count_before, measured.unit_count_after) >= bounds.min_unit_count
        and least(measured.old_price, measured.new_price) > 0 as has_elasticity
    from measured
    cross join bounds

),

final as (

    select
        -- ids
        compared.source_system,
        compared.product_id,

        -- text
        products.product_name,
        coalesce(products.category, 'Uncategorised') as category,
        {{ source_currency('compared.source_system') }} as currency,

        -- dates
        compared.effective_date,
        case when compared.day_count_before > 0 then compared.before_start_date end as before_start_date,
        case when compared.day_count_before > 0 then compared.before_end_date end as before_end_date,
        case when compared.day_count_after > 0 then compared.after_start_date end as after_start_date,
        case when compared.day_count_after > 0 then compared.after_end_date end as after_end_date,

        -- numbers
        compared.old_price,
        compared.new_price,
        {{ ratio('compared.new_price - compared.old_price', 'compared.old_price') }} as price_change_rate,
        compared.day_count_before,
        compared.day_count_after,
        compared.unit_count_before,
        compared.unit_count_after,
        compared.revenue_amount_before,
        compared.revenue_amount_after,
        compared.shop_unit_count_before,
        compared.shop_unit_count_after,
        {{ ratio('compared.unit_count_before', 'compared.day_count_before') }} as units_per_day_before,
        {{ ratio('compared.unit_count_after', 'compared.day_count_after') }} as units_per_day_after,
        round(compared.revenue_amount_before / nullif(compared.day_count_before, 0), 4)::numeric(18, 4)
            as revenue_per_day_before,
        round(compared.revenue_amount_after / nullif(compared.day_count_after, 0), 4)::numeric(18, 4)
            as revenue_per_day_after,
        case
            when compared.has_elasticity
                then round(
                    ln(
                        compared.unit_count_after::numeric * compared.day_count_before
                        / (compared.unit_count_before * compared.day_count_after)
                    ) / ln(compared.new_price / compared.old_price), 10
                )
        end::numeric(20, 10) as elasticity,
        case
            when compared.has_elasticity
                then round(
                    ln(
                        compared.unit_count_after::numeric * compared.shop_unit_count_before
                        / (compared.unit_count_before::numeric * compared.shop_unit_count_after)
                    ) / ln(compared.new_price / compared.old_price), 10
                )
        end::numeric(20, 10) as adjusted_elasticity,
        case
            when compared.has_elasticity
                then round(
                    sqrt(1::numeric / compared.unit_count_before + 1::numeric / compared.unit_count_after)
                    / abs(ln(compared.new_price / compared.old_price)), 10
                )
        end::numeric(20, 10) as elasticity_error,

        -- booleans
        compared.is_active,
        compared.is_complete
    from compared
    left join products
        on compared.source_system = products.source_system
        and compared.product_id = products.product_id

)

select * from final
