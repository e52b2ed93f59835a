{#- Additive measures of the daily states: what may be summed over days, customers and products. -#}
{%- macro additive_measures() -%}
    {%- do return([
        'order_count', 'kept_order_count', 'cancelled_order_count',
        'unit_count', 'cancelled_unit_count', 'returned_unit_count',
        'gross_amount', 'discount_amount', 'cancelled_amount', 'refund_amount',
        'fee_amount', 'adjustment_amount', 'shipping_amount', 'tax_amount',
        'cost_amount', 'cancelled_cost_amount', 'returned_cost_amount', 'unknown_cost_count',
    ]) -%}
{%- endmacro -%}


{#- The measures summed, one per line, each under its own name: counts as bigint, amounts as money. -#}
{%- macro sum_measures(measures=none, prefix='') -%}
    {%- for measure in measures or additive_measures() %}
        sum({{ prefix }}{{ measure }})::{{ 'bigint' if measure.endswith('_count') else money_type() | trim }} as {{ measure }}
        {{- ',' if not loop.last }}
    {%- endfor -%}
{%- endmacro -%}


{#- Cost of what was kept, of an aggregate: null as soon as one line in it has no known cost. -#}
{%- macro known_kept_cost(relation='') -%}
    case
        when {{ relation }}unknown_cost_count = 0
            then {{ kept_cost(
                relation ~ 'cost_amount', relation ~ 'cancelled_cost_amount', relation ~ 'returned_cost_amount'
            ) }}
    end
{%- endmacro -%}


{#- A share, rate or ratio, to 10 places; null over nothing. -#}
{%- macro ratio(numerator, denominator) -%}
    round(({{ numerator }})::numeric / nullif({{ denominator }}, 0), 10)::numeric(20, 10)
{%- endmacro -%}


{#- What an order is worth on average: gross − discount of the orders placed, per order, to 4 places. Both
    count on the order's date, so a cancellation on another day does not distort it. -#}
{%- macro average_order_value(gross_amount, discount_amount, order_count) -%}
    round(({{ gross_amount }} - {{ discount_amount }}) / nullif({{ order_count }}, 0), 4)
{%- endmacro -%}


{#- Quintile 1 to 5 by rank: ties share a score and nothing depends on the order of rows. The product with
    cume_dist is exact where it has to be: k/5 is the double nearest to it, and 5 × that rounds to k. -#}
{%- macro quintile(partition_by, order_by) -%}
    ceil(5 * cume_dist() over (partition by {{ partition_by }} order by {{ order_by }}))::integer
{%- endmacro -%}


{#- Condition: whether a day lies in one of the touched periods. As ranges with literal bounds, which prune
    partitions and use an index on the day; a truncated day would do neither.

    touched: what touched_keys() returned, with the periods' first days in its column `period` (listed in days).
    column:  the day.
    period:  month, week, quarter: also the name of the set's column. -#}
{%- macro is_in_touched_periods(touched, column, period) -%}
    {%- if touched.mode == 'all' -%}
        true
    {%- elif touched.mode == 'none' -%}
        false
    {%- else -%}
        {%- set length = '3 months' if period == 'quarter' else '1 ' ~ period -%}
        {%- set arms = [] -%}
        {%- for lists in touched.sources.values() -%}
            {%- for start in lists[period] -%}
                {%- do arms.append(
                    '(' ~ column ~ " >= date '" ~ start ~ "' and " ~ column ~ " < (date '" ~ start
                    ~ "' + interval '" ~ length ~ "')::date)") -%}
            {%- endfor -%}
        {%- endfor -%}
        ({{ arms | unique | join(' or ') }})
    {%- endif -%}
{%- endmacro -%}


{#- Query: days on which anything of a customer counts whose version changed (columns source_system, day): what depends
    on the version's content and not on its key alone, such as a place, is recomputed for them. A shop's day may
    begin a day before the same moment's day in UTC. -#}
{%- macro days_of_touched_customers(window) -%}
    select customer_days.source_system, customer_days.day
    from ({{ touched_by(window, 'dim_customers') }}) as customers
    inner join {{ ref('int_customer_day') }} as customer_days
        on customers.source_system = customer_days.source_system
        and customers.key = customer_days.customer_id
        and customer_days.day >= (customers.changed_from at time zone 'UTC')::date - 1
{%- endmacro -%}
