{#- Condition on a day's stock: whether the product could be bought on it. A day that ended without stock but with sales
    began with some. -#}
{%- macro is_sellable_day() -%}
    (not is_stocked_out or sold_quantity > 0)
{%- endmacro -%}


{#- How far a value is on the way from `zero_at` to `full_at`, between 0 and 1. The value is known; the way may lead
    down. -#}
{%- macro share_of_the_way(value, zero_at, full_at) -%}
    least(greatest(({{ value }} - {{ zero_at }}) / ({{ full_at }} - {{ zero_at }}), 0), 1)
{%- endmacro -%}
