{#- The proofs of business_insights as [(source_system, insight, query)], over the tables as they will be published. -#}
{%- macro proofs_of_insights() -%}
    {%- set proofs = [] -%}
    {%- for row in query('select source_system, insight, proof_query from ' ~ ref('business_insights')) -%}
        {%- do proofs.append((row.source_system, row.insight, row.proof_query | replace('marts.', 'marts_build.'))) -%}
    {%- endfor -%}
    {%- do return(proofs) -%}
{%- endmacro -%}
