{#- Money, defined once. Arguments are SQL expressions; nothing here rounds. See
    docs/decisions/0040-money.md. -#}

{#- Type of a price or an amount in warehouse and marts. -#}
{%- macro money_type() -%} numeric(18, 4) {%- endmacro -%}


{#- SQL: decimals of a currency's smallest unit: 2, but in the currencies that ISO 4217 gives another. -#}
{%- macro currency_decimals(currency) -%}
    case
        when {{ currency }} in (
            'BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'VND', 'VUV', 'XAF', 'XOF', 'XPF'
        ) then 0
        when {{ currency }} in ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') then 3
        else 2
    end
{%- endmacro -%}


{#- Gross of a line: quantity × unit price, before discounts. -#}
{%- macro gross_amount(quantity, unit_price) -%}
    ({{ quantity }} * {{ unit_price }})
{%- endmacro -%}


{#- What a line costs the customer: gross − discount, without tax and shipping. -#}
{%- macro line_total(quantity, unit_price, discount_amount) -%}
    ({{ gross_amount(quantity, unit_price) }} - {{ discount_amount }})
{%- endmacro -%}


{#- What an order costs the customer: its lines, shipping and tax. -#}
{%- macro order_total(lines_total, shipping_cost, tax_amount) -%}
    ({{ lines_total }} + {{ shipping_cost }} + {{ tax_amount }})
{%- endmacro -%}


{#- Net: gross − discounts − refunds − cancellations, without tax and shipping. -#}
{%- macro net_amount(gross_amount, discount_amount, cancelled_amount, refund_amount='0') -%}
    ({{ gross_amount }} - {{ discount_amount }} - {{ refund_amount }} - {{ cancelled_amount }})
{%- endmacro -%}


{#- Cost of what was kept: of what was sold, less that of what was cancelled and of what came back. -#}
{%- macro kept_cost(cost_amount, cancelled_cost_amount, returned_cost_amount) -%}
    ({{ cost_amount }} - {{ cancelled_cost_amount }} - {{ returned_cost_amount }})
{%- endmacro -%}


{#- Margin: net − the cost of what was kept. Null where a cost is unknown. -#}
{%- macro margin_amount(net_amount, cost_amount, cancelled_cost_amount, returned_cost_amount='0') -%}
    ({{ net_amount }} - {{ kept_cost(cost_amount, cancelled_cost_amount, returned_cost_amount) }})
{%- endmacro -%}


{#- The amounts of a delivered line by its kind, as columns. Expects in scope: line_type, quantity, unit_price,
    discount_amount, line_total, unit_cost, is_order_cancelled. Both facts take their amounts from here.

    A sale counts on the order's date and, where its order is cancelled, is taken back on the cancellation's
    date. A line of a cancellation document only takes back. Fees and adjustments stand beside sales; a
    zero-priced line is worth nothing. An unknown cost makes the cost null, not zero. -#}
{%- macro line_amounts() -%}
    (case when line_type = 'sale' then {{ gross_amount('quantity', 'unit_price') }} else 0 end)::numeric(18, 4)
        as gross_amount,
    (case when line_type = 'sale' then discount_amount else 0 end)::numeric(18, 4) as discount_amount,
    (case when line_type = 'zero_priced' then 0 else line_total end)::numeric(18, 4) as line_total,
    (
        case
            when line_type = 'sale' and is_order_cancelled then quantity
            when line_type = 'cancellation' then -quantity
            else 0
        end
    )::bigint as cancelled_quantity,
    (
        case
            when line_type = 'sale' and is_order_cancelled
                then {{ line_total('quantity', 'unit_price', 'discount_amount') }}
            when line_type = 'cancellation' then -line_total
            else 0
        end
    )::numeric(18, 4) as cancelled_amount,
    (case when line_type = 'fee' then line_total else 0 end)::numeric(18, 4) as fee_amount,
    (case when line_type = 'adjustment' then line_total else 0 end)::numeric(18, 4) as adjustment_amount,
    (case when line_type = 'sale' then quantity * unit_cost else 0 end)::numeric(18, 4) as cost_amount,
    (
        case
            when line_type = 'sale' and is_order_cancelled then quantity * unit_cost
            when line_type = 'cancellation' then -quantity * unit_cost
            else 0
        end
    )::numeric(18, 4) as cancelled_cost_amount
{%- endmacro -%}


{#- What a return takes back, as columns, on the day of the return. Expects the columns quantity, refund_amount,
    unit_cost and is_counted of the relation. A return that does not count takes back nothing: its order's
    cancellation did. An unknown cost makes the cost null, not zero. -#}
{%- macro return_amounts(relation) -%}
    (case when {{ relation }}.is_counted then {{ relation }}.quantity else 0 end)::bigint as returned_quantity,
    (case when {{ relation }}.is_counted then {{ relation }}.refund_amount else 0 end)::numeric(18, 4) as refund_amount,
    (
        case when {{ relation }}.is_counted then {{ relation }}.quantity * {{ relation }}.unit_cost else 0 end
    )::numeric(18, 4) as returned_cost_amount
{%- endmacro -%}
