"""`ecommerce-dw status`."""

from __future__ import annotations

import json

import click

from ecommerce_dw import db
from ecommerce_dw.loading.ledger import in_effect
from ecommerce_dw.settings import get_settings

_SOURCES = f"""
select
    source,
    max(business_date) filter (where is_in_effect)::text as as_of,
    count(*) filter (where is_in_effect) as loaded_files,
    count(*) filter (where is_current and status = 'refused') as refused_files,
    coalesce(sum(rows_loaded) filter (where is_in_effect), 0)::bigint as rows_loaded,
    coalesce(sum(rows_rejected) filter (where is_in_effect), 0)::bigint as rows_rejected
from (select l.*, {in_effect("l")} as is_in_effect from raw.load_ledger as l) as l
group by source
order by source
"""
_LAST_RUN = """
select run_id, business_date::text, status, started_at::text, finished_at::text, message
from ops.runs
order by started_at desc, run_seq desc
limit 1
"""
_INCIDENTS = """
select scope, object, rule, severity, opened_at::text, title
from ops.incidents
where closed_at is null
order by opened_at
"""
_PUBLICATION = """
select max(published_at)::text as published_at, max(load_id_to) as load_id_to
from ops.publications
"""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the state as JSON.")
def command(as_json: bool) -> None:
    """The state of the warehouse: sources, last run, open incidents, last publication."""
    connection = db.connect("transformer", settings=get_settings())
    with connection, connection.cursor() as cursor:
        answers = []
        for query in (_SOURCES, _LAST_RUN, _INCIDENTS, _PUBLICATION):
            cursor.execute(query)
            names = [column.name for column in cursor.description or ()]
            answers.append([dict(zip(names, row, strict=True)) for row in cursor])
    connection.close()
    sources, last_runs, incidents, publications = answers
    if as_json:
        click.echo(
            json.dumps(
                {
                    "sources": sources,
                    "last_run": last_runs[0] if last_runs else None,
                    "open_incidents": incidents,
                    "last_publication": publications[0],
                }
            )
        )
        return
    if not sources:
        click.echo("No file has been loaded yet: `ecommerce-dw load`, or trigger the DAG.")
    for s in sources:
        click.echo(
            f"{s['source']}: as of {s['as_of']}, {s['loaded_files']:,} files, {s['rows_loaded']:,} rows, "
            f"{s['rows_rejected']:,} rejected, {s['refused_files']} files refused"
        )
    for run in last_runs:
        click.echo(
            f"last run: {run['run_id']} (business date {run['business_date']}), {run['status']}, "
            f"{run['started_at'][:19]} to {(run['finished_at'] or 'now')[:19]} UTC"
        )
        if run["message"]:
            click.echo(f"  {run['message']}")
    published = publications[0]["published_at"]
    click.echo(f"last publication: {published[:19] + ' UTC' if published else 'none'}")
    click.echo(f"open incidents: {len(incidents)}")
    for incident in incidents:
        click.echo(f"  {incident['severity']} since {incident['opened_at'][:16]}: {incident['title']}")
