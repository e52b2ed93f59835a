{#- SQL: the size of a sale (small, medium …) by its amount, by the lower bounds that seed sale_sizes has for its
    currency. A bound belongs to the size it begins: with medium from 50, 50.00 is medium and 49.99 small. Null for no
    amount, for one below the first bound, and in a currency the seed does not have.

    Needs sale_size_bounds() joined left by currency.

    amount: of the sale, in that currency.
    bounds: the name it is joined under. -#}
{%- macro categorize_sale_size(amount, bounds='sale_sizes') -%}
    {{ bounds }}.names[width_bucket({{ amount }}, {{ bounds }}.lower_bounds)]
{%- endmacro -%}


{#- Query: one row per currency with the sizes in seed sale_sizes as two arrays, the smallest first. -#}
{%- macro sale_size_bounds() -%}
    select
        currency,
        array_agg(sale_size order by min_amount) as names,
        array_agg(min_amount order by min_amount) as lower_bounds
    from {{ ref('sale_sizes') }}
    group by currency
{%- endmacro -%}
