{#- SQL: how far a visit went, 1 to 5: visit, product seen, something in the cart, checkout, purchase. Expects the counts of
    events by type. -#}
{%- macro funnel_step(relation) -%}
    (
        case
            when {{ relation }}.purchase_count > 0 then 5
            when {{ relation }}.checkout_count > 0 then 4
            when {{ relation }}.add_to_cart_count > 0 then 3
            when {{ relation }}.product_view_count > 0 then 2
            else 1
        end
    )::integer
{%- endmacro -%}
