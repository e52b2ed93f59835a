{#- Days before an order in which a visit of its customer counts as a touch: 24 hours each, whatever the clock does. -#}
{%- macro touch_lookback_days() -%} 30 {%- endmacro -%}


{#- The campaign of what belongs to none. -#}
{%- macro no_campaign() -%} '(none)' {%- endmacro -%}


{#- Condition: whether a source delivers what is spent on marketing. -#}
{%- macro has_marketing(source_system) -%}
    {{ source_system }} = any({{ array_literal(sources_feeding('marketing_spend')) }})
{%- endmacro -%}


{#- Condition: whether a value is an outlier by the interquartile rule, beyond 1.5 times the distance of the quartiles. Where
    the quartiles are equal, most days are alike and the rule says nothing. -#}
{%- macro is_iqr_outlier(value, lower_quartile, upper_quartile) -%}
    (
        {{ upper_quartile }} > {{ lower_quartile }}
        and (
            {{ value }} < {{ lower_quartile }} - 1.5 * ({{ upper_quartile }} - {{ lower_quartile }})
            or {{ value }} > {{ upper_quartile }} + 1.5 * ({{ upper_quartile }} - {{ lower_quartile }})
        )
    )
{%- endmacro -%}
