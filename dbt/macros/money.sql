{#- Money, defined once. Arguments are SQL expressions; nothing here rounds. See
    docs/decisions/0040-money.md. -#}

{#- Type of a price or an amount in warehouse and marts. -#}
{%- macro money_type() -%} numeric(18, 4) {%- endmacro -%}


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


{#- Margin: net − the cost of what was kept. Null where a cost is unknown. -#}
{%- macro margin_amount(net_amount, cost_amount, cancelled_cost_amount) -%}
    ({{ net_amount }} - ({{ cost_amount }} - {{ cancelled_cost_amount }}))
{%- endmacro -%}
