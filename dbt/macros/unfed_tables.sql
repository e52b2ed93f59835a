{#- The conformed entities (`orders` for stg_orders …) a model is made from, through every model between. -#}
{%- macro entities_behind(unique_id) -%}
    {%- set found, pending, seen = [], [unique_id], [] -%}
    {#- Jinja has no `while`: the graph has fewer nodes than this range. -#}
    {%- for _ in range(graph.nodes | length) if pending -%}
        {%- set node = graph.nodes[pending.pop()] -%}
        {%- for parent in node.depends_on.nodes if parent in graph.nodes and parent not in seen -%}
            {%- do seen.append(parent) -%}
            {%- set name = graph.nodes[parent].name -%}
            {%- if name.startswith('stg_') and '__' not in name -%}
                {%- do found.append(name[4:]) -%}
            {%- else -%}
                {%- do pending.append(parent) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- do return(found) -%}
{%- endmacro -%}


{#- Whether a source feeds a conformed entity, or a column of one (`products.price`): not where its staging model
    says that the column is null. -#}
{%- macro is_fed(source, need) -%}
    {%- set entity, column = (need ~ '.').split('.')[:2] -%}
    {%- if source not in sources_feeding(entity) -%}
        {%- do return(false) -%}
    {%- endif -%}
    {%- for node in graph.nodes.values() if column and node.name == 'stg_' ~ source ~ '__' ~ entity -%}
        {%- if modules.re.search('null::[a-z]+ as ' ~ column ~ '\\b', node.raw_code) -%}
            {%- do return(false) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do return(true) -%}
{%- endmacro -%}


{#- The published tables a source cannot feed: [(source, table, reason)]. Contracts say what a source feeds
    (`feeds`), the project's graph what a table is made from. A table that is empty without some of that names it,
    `meta: {needs: [products]}` or `[products.price]`, or says what to call it, `{customers.is_marketing_opt_in: consent}`; else it
    is empty for a source that feeds nothing of it but customers and products,
    which come with orders alone. -#}
{%- macro unfed_tables() -%}
    {%- set found = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.schema == 'marts_build' -%}
        {%- set entities = entities_behind(node.unique_id) | reject('equalto', 'touched') | unique | sort -%}
        {%- set needs = node.config.meta.get('needs') -%}
        {%- for source in sources_feeding('touched') -%}
            {%- set missing, fed = [], [] -%}
            {%- for entity in needs or entities | reject('in', ['customers', 'products']) -%}
                {%- do (fed if is_fed(source, entity) else missing).append(entity) -%}
            {%- endfor -%}
            {%- if missing and (needs or not fed) -%}
                {%- set words = [] -%}
                {%- for need in missing -%}
                    {%- do words.append(
                        needs[need] if needs is mapping else need | replace('.', ' with a ') | replace('_', ' ')) -%}
                {%- endfor -%}
                {%- do found.append((source, node.name, 'The files of ' ~ source ~ ' have no ' ~ words | join(', '))) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- do return(found | sort) -%}
{%- endmacro -%}
