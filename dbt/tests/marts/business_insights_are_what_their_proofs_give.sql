-- Each proof is run against the tables as they will be published; the sentence says its value.
{%- set proofs = proofs_of_insights() %}

with

insights as (

    select * from {{ ref('business_insights') }}

),

proofs as (

    {% for source_system, insight, query in proofs -%}
    select '{{ source_system }}' as source_system, '{{ insight }}' as insight, ({{ query }}) as value
    union all
    {% endfor -%}
    select null::text, null::text, null::numeric
    where false

),

compared as (

    select
        insights.*,
        round(proofs.value, 4) as proven_value,
        to_char(
            abs(insights.value),
            case insights.unit
                when 'money' then 'FM999,999,999,999,990.00'
                when 'percent' then 'FM999,990.0'
                when 'count' then 'FM999,999,999,990'
            end
        ) as figure
    from insights
    left join proofs
        on insights.source_system = proofs.source_system
        and insights.insight = proofs.insight

)

select
    source_system,
    insight,
    sentence,
    value,
    proven_value
from compared
where
    value is distinct from proven_value
    or position(figure in sentence) = 0
