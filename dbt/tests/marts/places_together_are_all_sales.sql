-- Each level of places holds everything that was sold and every customer.

{%- set measures = [
    'order_count', 'cancelled_order_count', 'unit_count', 'returned_unit_count',
    'gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount', 'net_amount',
] %}

with

levels as (

    select level from (values ('country'), ('state'), ('city')) as levels (level)

),

places as (

    select
        source_system,
        level,
        {% for measure in measures -%}
        sum({{ measure }}) as {{ measure }},
        {% endfor -%}
        sum(customer_count) as customer_count,
        sum(buyer_count) as buyer_count
    from {{ ref('geographic_performance') }}
    group by source_system, level

),

sales as (

    select
        source_system,
        {% for measure in measures -%}
        sum({{ measure }}) as {{ measure }}{{ ',' if not loop.last }}
        {% endfor %}
    from {{ ref('sales_summary') }}
    where period_type = 'day'
    group by source_system

),

customers as (

    select
        source_system,
        count(*) as customer_count,
        count(*) filter (where order_count > 0) as buyer_count
    from {{ ref('customer_summary') }}
    group by source_system

)

select
    source_system,
    level,
    places.net_amount,
    sales.net_amount as all_net_amount,
    places.customer_count,
    customers.customer_count as all_customer_count
from sales
cross join levels
left join places using (source_system, level)
left join customers using (source_system)
where
    (
        {% for measure in measures -%}
        places.{{ measure }},
        {% endfor -%}
        coalesce(places.customer_count, 0), coalesce(places.buyer_count, 0)
    ) is distinct from (
        {% for measure in measures -%}
        sales.{{ measure }},
        {% endfor -%}
        coalesce(customers.customer_count, 0), coalesce(customers.buyer_count, 0)
    )
