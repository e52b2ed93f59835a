{{ config(unique_key=['source_system', 'product_id', 'partner_id']) }}

with

pair_totals as (

    select * from {{ ref('int_product_pair_totals') }}

),

basket_days as (

    select * from {{ ref('int_basket_day') }}

),

products as (

    select * from {{ ref('dim_products') }}
    where is_current

),

bounds as (

    select * from {{ ref('product_affinity_bounds') }}

),

shops as (

    select
        source_system,
        sum(order_count)::bigint as order_count,
        sum(large_order_count)::bigint as large_order_count
    from basket_days
    group by source_system

),

-- Most pairs were bought once or twice; a pair bought often is made of products that were.

frequent as (

    select * from pair_totals
    where order_count >= (select bounds.min_pair_order_count from bounds)

),

-- A product is its own first partner: the orders with it.

product_totals as (

    select * from frequent
    where product_id = partner_id

),

pairs as (

    select * from frequent
    where product_id <> partner_id

),

compared as (

    select
        pairs.source_system,
        pairs.product_id,
        pairs.partner_id,
        pairs.order_count as pair_order_count,
        products.order_count as product_order_count,
        partners.order_count as partner_order_count,
        shops.order_count as shop_order_count,
        shops.large_order_count,
        products.order_count::numeric * partners.order_count / shops.order_count as expected_count
    from pairs
    inner join shops on pairs.source_system = shops.source_system
    inner join product_totals as products
        on pairs.source_system = products.source_system
        and pairs.product_id = products.product_id
    inner join product_totals as partners
        on pairs.source_system = partners.source_system
        and pairs.partner_id = partners.product_id

),

scored as (

    select
        *,
        round((pair_order_count - expected_count) / sqrt(expected_count), 10) as z_score
    from compared

),

both_directions as (

    select
        source_system,
        product_id,
        partner_id,
        pair_order_count,
        product_order_count,
        partner_order_count,
        shop_order_count,
        large_order_count,
        expected_count,
        z_score
    from scored
    union all
    select
        source_system,
        partner_id as product_id,
        product_id as partner_id,
        pair_order_count,
        partner_order_count as product_order_count,
        product_order_count as partner_order_count,
        shop_order_count,
        large_order_count,
        expected_count,
        z_score
    from scored

),

-- Ranks are shared by equals, so nothing depends on the order of rows.

ranked as (

    select
        *,
        rank() over (partition by source_system, product_id order by z_score desc) as partner_rank,
        rank() over (partition by source_system, partner_id order by z_score desc) as rank_at_partner
    from both_directions

),

final as (

    select
        -- ids
        ranked.source_system,
        ranked.product_id,
        ranked.partner_id,

        -- text
        products.product_name,
        coalesce(products.category, 'Uncategorised') as category,
        partners.product_name as partner_name,
        coalesce(partners.category, 'Uncategorised') as partner_category,

        -- numbers
        ranked.pair_order_count,
        ranked.product_order_count,
        ranked.partner_order_count,
        ranked.shop_order_count,
        ranked.large_order_count,
        round(ranked.expected_count, 10)::numeric(20, 10) as expected_order_count,
        {{ ratio('ranked.pair_order_count', 'ranked.shop_order_count') }} as support,
        {{ ratio('ranked.pair_order_count', 'ranked.product_order_count') }} as confidence,
        {{ ratio('ranked.pair_order_count', 'ranked.expected_count') }} as lift,
        ranked.z_score::numeric(20, 10) as z_score,
        ranked.partner_rank::integer as partner_rank,

        -- booleans
        round(ranked.pair_order_count / ranked.expected_count, 10) >= bounds.min_strong_lift
        and ranked.z_score >= bounds.min_strong_z_score as is_strong
    from ranked
    inner join bounds
        on bounds.max_partner_count >= ranked.partner_rank
        or bounds.max_partner_count >= ranked.rank_at_partner
    left join products
        on ranked.source_system = products.source_system
        and ranked.product_id = products.product_id
    left join products as partners
        on ranked.source_system = partners.source_system
        and ranked.partner_id = partners.product_id

)

select * from final
