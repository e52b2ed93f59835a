{#- Every row keeps every one of the conditions. A condition on a value that is null holds. -#}
{% test expression_holds(model, expressions) %}

    select broken.expression, rows_of_model.*
    from {{ model }} as rows_of_model
    cross join lateral (
        values
        {%- for expression in expressions %}
            ('{{ expression | replace("'", "''") }}', {{ expression }}){{ ',' if not loop.last }}
        {%- endfor %}
    ) as broken (expression, holds)
    where not broken.holds

{% endtest %}
