{#- Identifier of what was given back of an order on a day, in the source `sales`. Arguments are SQL expressions. -#}
{%- macro sales_refund_id(order_id, sale_date) -%}
    ({{ order_id }} || ' refund ' || to_char({{ sale_date }}, 'YYYY-MM-DD'))
{%- endmacro -%}
