{#- RFM, defined once: three steps of a query (CTEs) after one another, the last of which is `segmented`.

    Scores rank customers among each other within `partition_by`; only those with an order that stands are ranked.
    Frequency and monetary count alike, and are ranked once more: where most customers bought once they share a
    middling frequency score, and a mean of the scores would leave the lower half of the scale empty.

    relation: a CTE with partition_by, customer_id, last_kept_order_date, kept_order_count, net_amount; a CTE
              rfm_segments must be there, too. -#}
{%- macro rfm_steps(relation, partition_by) -%}
    scored as (

        select
            {{ partition_by }},
            customer_id,
            {{ quintile(partition_by, 'last_kept_order_date') }} as recency_score,
            {{ quintile(partition_by, 'kept_order_count') }} as frequency_score,
            {{ quintile(partition_by, 'net_amount') }} as monetary_score
        from {{ relation }}
        where kept_order_count > 0

    ),

    combined as (

        select
            *,
            {{ quintile(partition_by, 'frequency_score + monetary_score') }} as frequency_monetary_score
        from scored

    ),

    segmented as (

        select
            combined.*,
            rfm_segments.segment as rfm_segment
        from combined
        left join rfm_segments
            on combined.recency_score
            between rfm_segments.min_recency_score and rfm_segments.max_recency_score
            and combined.frequency_monetary_score
            between rfm_segments.min_frequency_monetary_score and rfm_segments.max_frequency_monetary_score

    )
{%- endmacro -%}


{#- Health 0-100, defined once: the points of one part (seed health_parts) for a value, on the line from the worst
    value (none) to the best (all), to 6 places; null for no value. Needs a CTE health_parts joined as `parts`, one row
    with a column pair per part: see health_bounds(). -#}
{%- macro health_points(part, value) -%}
    round(
        parts.{{ part }}_max_points * least(1, greatest(0,
            ({{ value }} - parts.{{ part }}_worst_value) / (parts.{{ part }}_best_value - parts.{{ part }}_worst_value)
        )), 6
    )::numeric(9, 6)
{%- endmacro -%}


{#- Columns: the seed health_parts turned into one row. -#}
{%- macro health_bounds() -%}
    {%- for part in ['recency', 'frequency', 'kept'] %}
        {%- for bound in ['max_points', 'worst_value', 'best_value'] %}
        max({{ bound }}) filter (where health_part = '{{ part }}') as {{ part }}_{{ bound }}
        {{- ',' if not loop.last }}
        {%- endfor %}
        {{- ',' if not loop.last }}
    {%- endfor -%}
{%- endmacro -%}


{#- Share of the orders' value that was neither cancelled nor refunded: 0 where nothing of value was ordered. -#}
{%- macro kept_share(net_amount, ordered_amount) -%}
    coalesce({{ net_amount }} / nullif({{ ordered_amount }}, 0), 0)
{%- endmacro -%}


{#- Churn risk 0-1: the probability that a customer has stopped buying, from the customer's own orders and the shop's rhythm.

    MBG/NBD (Batislam, Denizel, Filiztekin, International Journal of Research in Marketing 24 (2007)) with purchase
    rates ~ Gamma(1, mean gap of the shop), so that
        odds of having stopped = stopping / (staying + n - 1) * ((g + T) / (g + t)) ^ n
    for n orders, t days from the first to the last, T days from the first to the as-of date, g the shop's mean
    gap in days. In logarithms, and the exponent bounded: exp() of less than -745 is an error.
    To 6 places; null while the shop has no gap between two orders. -#}
{%- macro churn_risk(order_count, active_days, observed_days, gap_days, stopping, staying) -%}
    case
        when {{ gap_days }} is not null then round((
            1 / (
                1 + ({{ staying }} + {{ order_count }} - 1) / {{ stopping }}
                * exp(-least(
                    700,
                    {{ order_count }} * ln(
                        (({{ gap_days }} + {{ observed_days }}) / ({{ gap_days }} + {{ active_days }}))::double precision
                    )
                ))
            )
        )::numeric, 6)
    end::numeric(7, 6)
{%- endmacro -%}
