{#- The proofs of business_insights as [(source_system, insight, query)], over the tables as they will be published. -#}
{%- macro proofs_of_insights() -%}
    {%- set proofs = [] -%}
    {%- if execute -%}
        {%- set query = 'select source_system, insight, proof_query from ' ~ ref('business_insights') -%}
        {%- for row in run_query(query).rows -%}
            {%- do proofs.append((row[0], row[1], row[2] | replace('marts.', 'marts_build.'))) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- do return(proofs) -%}
{%- endmacro -%}
