{#- Every row keeps every one of the conditions. A condition on a value that is null holds. -#}
{% test conditions_hold_in_every_row(model, conditions) %}

    select broken.condition, rows_of_model.*
    -- with a `where` in its config the model is a subquery with a name of its own
    from (select * from {{ model }}) as rows_of_model
    cross join lateral (
        values
        {%- for condition in conditions %}
            ('{{ condition | replace("'", "''") }}', {{ condition }}){{ ',' if not loop.last }}
        {%- endfor %}
    ) as broken (condition, holds)
    where not broken.holds

{% endtest %}
