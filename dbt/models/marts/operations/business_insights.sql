{{ config(unique_key=['source_system', 'insight']) }}

{#- How a figure is written: money to the cent, percent to one place, counts whole. -#}
{%- set money = "'FM999,999,999,999,990.00'" -%}
{%- set percent = "'FM999,990.0'" -%}
{%- set whole = "'FM999,999,999,990'" -%}
{#- Where a proof reads: what people read. The model itself reads what is about to be published. -#}
{%- set published = 'marts' %}

with

sales as (

    select * from {{ ref('sales_summary') }}

),

customers as (

    select * from {{ ref('customer_summary') }}

),

products as (

    select * from {{ ref('product_performance') }}

),

channels as (

    select * from {{ ref('channel_performance') }}

),

-- What each sentence says; its proof is a query over the published tables that gives the same value by itself.

last_months as (

    select distinct on (source_system)
        source_system,
        currency,
        period_start,
        net_amount
    from sales
    where period_type = 'month' and is_complete
    order by source_system asc, period_start desc

),

months_before as (

    select
        last_months.*,
        100 * (last_months.net_amount / nullif(sales.net_amount, 0) - 1) as change_percent
    from last_months
    inner join sales
        on last_months.source_system = sales.source_system
        and sales.period_type = 'month'
        and sales.period_start = (last_months.period_start - interval '1 month')::date
    where sales.net_amount > 0

),

best_days as (

    select distinct on (source_system)
        source_system,
        currency,
        period_start,
        net_amount
    from sales
    where period_type = 'day'
    order by source_system asc, net_amount desc, period_start asc

),

all_sales as (

    select
        source_system,
        sum(gross_amount) as gross_amount,
        sum(refund_amount) as refund_amount,
        sum(order_count) as order_count,
        sum(guest_order_count) as guest_order_count
    from sales
    where period_type = 'month'
    group by source_system

),

all_customers as (

    select
        source_system,
        min(currency) as currency,
        count(*) filter (where frequency >= 1) as customer_count,
        count(*) filter (where frequency >= 2) as repeat_customer_count,
        sum(net_amount) as net_amount,
        count(*) filter (where rfm_segment = 'Champions') as champion_count,
        coalesce(sum(net_amount) filter (where rfm_segment = 'Champions'), 0) as champion_net_amount,
        count(*) filter (where rfm_segment in ('At Risk', 'Cannot Lose Them')) as risk_count,
        coalesce(sum(net_amount) filter (where rfm_segment in ('At Risk', 'Cannot Lose Them')), 0) as risk_net_amount
    from customers
    group by source_system

),

best_products as (

    select distinct on (source_system)
        source_system,
        currency,
        coalesce(product_name, product_id) as product_name,
        net_amount
    from products
    where net_amount > 0
    order by source_system asc, net_amount desc, product_id collate "C" asc

),

class_a_products as (

    select
        source_system,
        count(*) filter (where abc_class = 'A') as product_count,
        count(*) as all_product_count,
        100 * sum(net_share) filter (where abc_class = 'A') as share_percent
    from products
    where net_amount > 0
    group by source_system

),

best_channels as (

    select distinct on (source_system)
        source_system,
        currency,
        channel_name,
        profit_amount
    from channels
    where period_type = 'all' and profit_amount is not null and channel <> 'unknown'
    order by source_system asc, profit_amount desc, channel collate "C" asc

),

cheapest_channels as (

    select distinct on (source_system)
        source_system,
        currency,
        channel_name,
        cost_per_acquisition
    from channels
    where period_type = 'all' and is_paid and spend_amount > 0 and cost_per_acquisition is not null
    order by source_system asc, cost_per_acquisition asc, channel collate "C" asc

),

insights as (

    select
        source_system,
        'net_of_the_last_month' as insight,
        'money' as unit,
        net_amount as value,
        format(
            'Net revenue of %s, the last complete month, was %s %s.',
            to_char(period_start, 'FMMonth YYYY'), to_char(round(net_amount, 4), {{ money }}), currency
        ) as sentence,
        format(
            'select net_amount as value from {{ published }}.sales_summary where source_system = %L '
            || 'and period_type = ''month'' and is_complete order by period_start desc limit 1',
            source_system
        ) as proof_query
    from last_months

    union all

    select
        source_system,
        'growth_of_the_last_month',
        'percent',
        change_percent,
        format(
            'In %s net revenue was %s %% %s than in the month before.',
            to_char(period_start, 'FMMonth YYYY'), to_char(round(abs(change_percent), 4), {{ percent }}),
            case when change_percent < 0 then 'lower' else 'higher' end
        ),
        format(
            'select 100 * (later.net_amount / earlier.net_amount - 1) as value from {{ published }}.sales_summary as later '
            || 'join {{ published }}.sales_summary as earlier using (source_system, period_type) where source_system = %L '
            || 'and period_type = ''month'' and later.is_complete '
            || 'and earlier.period_start = (later.period_start - interval ''1 month'')::date '
            || 'order by later.period_start desc limit 1',
            source_system
        )
    from months_before

    union all

    select
        source_system,
        'best_day',
        'money',
        net_amount,
        format(
            'The best day so far was %s, with net revenue of %s %s.',
            to_char(period_start, 'YYYY-MM-DD'), to_char(round(net_amount, 4), {{ money }}), currency
        ),
        format(
            'select max(net_amount) as value from {{ published }}.sales_summary where source_system = %L and period_type = ''day''',
            source_system
        )
    from best_days

    union all

    select
        source_system,
        'refunds_per_gross',
        'percent',
        100 * refund_amount / gross_amount,
        format(
            'Of what was sold, %s %% was paid back on returns.',
            to_char(round(100 * refund_amount / gross_amount, 4), {{ percent }})
        ),
        format(
            'select 100 * sum(refund_amount) / sum(gross_amount) as value from {{ published }}.sales_summary '
            || 'where source_system = %L and period_type = ''day''',
            source_system
        )
    from all_sales
    where gross_amount > 0 and refund_amount > 0

    union all

    select
        source_system,
        'guest_orders',
        'percent',
        100.0 * guest_order_count / order_count,
        format(
            '%s %% of the orders were placed by guests.',
            to_char(round(100.0 * guest_order_count / order_count, 4), {{ percent }})
        ),
        format(
            'select 100.0 * sum(guest_order_count) / sum(order_count) as value from {{ published }}.sales_summary '
            || 'where source_system = %L and period_type = ''day''',
            source_system
        )
    from all_sales
    where guest_order_count > 0

    union all

    select
        source_system,
        'repeat_customers',
        'percent',
        100.0 * repeat_customer_count / customer_count,
        format(
            '%s %% of %s customers with a standing order came back for another one.',
            to_char(round(100.0 * repeat_customer_count / customer_count, 4), {{ percent }}), to_char(customer_count, {{ whole }})
        ),
        format(
            'select 100 * avg((frequency >= 2)::integer) as value from {{ published }}.customer_summary '
            || 'where source_system = %L and frequency > 0',
            source_system
        )
    from all_customers
    where customer_count > 0

    union all

    select
        source_system,
        'share_of_champions',
        'percent',
        100 * champion_net_amount / net_amount,
        format(
            '%s %% of the net revenue of all customers comes from the Champions, %s in number.',
            to_char(round(100 * champion_net_amount / net_amount, 4), {{ percent }}), to_char(champion_count, {{ whole }})
        ),
        format(
            'select 100 * sum(case when rfm_segment = ''Champions'' then net_amount else 0 end) / sum(net_amount) as value '
            || 'from {{ published }}.customer_summary where source_system = %L',
            source_system
        )
    from all_customers
    where net_amount > 0 and champion_count > 0

    union all

    select
        source_system,
        'customers_at_risk',
        'count',
        risk_count,
        format(
            'Good customers who have not come for long (At Risk, Cannot Lose Them) are %s in number; they brought %s %s.',
            to_char(risk_count, {{ whole }}), to_char(round(risk_net_amount, 4), {{ money }}), currency
        ),
        format(
            'select count(*) as value from {{ published }}.customer_summary where source_system = %L '
            || 'and rfm_segment in (''At Risk'', ''Cannot Lose Them'')',
            source_system
        )
    from all_customers
    where risk_count > 0

    union all

    select
        source_system,
        'best_product',
        'money',
        net_amount,
        format(
            'The product with the most net revenue is %s: %s %s.',
            product_name, to_char(round(net_amount, 4), {{ money }}), currency
        ),
        format('select max(net_amount) as value from {{ published }}.product_performance where source_system = %L', source_system)
    from best_products

    union all

    select
        source_system,
        'share_of_class_a',
        'percent',
        share_percent,
        format(
            '%s of %s products with net revenue are class A; they bring %s %% of it.',
            to_char(product_count, {{ whole }}), to_char(all_product_count, {{ whole }}),
            to_char(round(share_percent, 4), {{ percent }})
        ),
        format(
            'select 100 * sum(net_share) as value from {{ published }}.product_performance where source_system = %L '
            || 'and abc_class = ''A'' and net_amount > 0',
            source_system
        )
    from class_a_products
    where product_count > 0

    union all

    select
        source_system,
        'best_channel',
        'money',
        profit_amount,
        format(
            'The customers whom %s brought left the most after its costs: %s %s.',
            channel_name, to_char(round(profit_amount, 4), {{ money }}), currency
        ),
        format(
            'select max(profit_amount) as value from {{ published }}.channel_performance where source_system = %L '
            || 'and period_type = ''all'' and channel <> ''unknown''',
            source_system
        )
    from best_channels

    union all

    select
        source_system,
        'cheapest_paid_channel',
        'money',
        cost_per_acquisition,
        format(
            'Of the channels that are paid for, %s brings a new customer for the least: %s %s.',
            channel_name, to_char(round(cost_per_acquisition, 4), {{ money }}), currency
        ),
        format(
            'select min(cost_per_acquisition) as value from {{ published }}.channel_performance where source_system = %L '
            || 'and period_type = ''all'' and is_paid and spend_amount > 0',
            source_system
        )
    from cheapest_channels

),

final as (

    select
        -- ids
        source_system,
        insight,

        -- text
        sentence,
        unit,
        proof_query,

        -- numbers
        round(value, 4)::numeric(18, 4) as value
    from insights

)

select * from final
