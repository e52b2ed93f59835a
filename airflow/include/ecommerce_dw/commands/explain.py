"""`ecommerce-dw explain`."""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from collections.abc import Iterator

import click
import psycopg2

from ecommerce_dw.settings import get_settings


@click.command()
@click.argument("table")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(table: str, as_json: bool) -> None:
    """Say what a TABLE is: grain, columns, lineage, tests, freshness, last run, and a query to begin with.

    TABLE is a name with or without schema: `customer_summary`, `warehouse.fact_orders`, `raw.load_ledger`.
    """
    from ecommerce_dw.explain import UnknownTableError, explain
    from ecommerce_dw.transform import parse

    settings = get_settings()
    manifest = json.loads((parse(settings) / "manifest.json").read_text())
    try:
        explanation = explain(table, manifest, settings)
    except UnknownTableError as error:
        raise click.UsageError(str(error)) from error
    except psycopg2.OperationalError as error:
        raise click.ClickException(
            f"The warehouse does not answer: {str(error).strip()}. `./deploy.sh dev` starts it."
        ) from error
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(explanation), default=str, indent=2))
        return

    width = min(shutil.get_terminal_size((110, 20)).columns, 120)

    def wrapped(label: str, text: str) -> Iterator[str]:
        yield from textwrap.wrap(text, width, initial_indent=f"{label:<12}", subsequent_indent=" " * 12)

    entry = explanation.table
    lines = [f"{entry.full_name} ({entry.kind})", *textwrap.wrap(entry.description, width), ""]
    command = "publish" if entry.schema == "marts" else "build"
    missing = f"the table is not there yet: `ecommerce-dw {command}` makes it"
    rows = f"{explanation.row_count:,}" if explanation.is_there else missing
    lines += wrapped("Rows", rows)
    lines += wrapped(
        "Fresh up to", ", ".join(f"{s} {d}" for s, d in sorted(explanation.as_of.items())) or "-"
    )
    if explanation.last_run is not None:
        run = explanation.last_run
        written = "" if run.rows is None or run.rows < 0 else f", {run.rows:,} rows"
        lines += wrapped(
            "Last run",
            f"{run.at:%Y-%m-%d %H:%M} UTC, {run.status} in {run.seconds:.1f} s{written} ({run.run_id})",
        )
    if explanation.published_at is not None:
        lines += wrapped("Published", f"{explanation.published_at:%Y-%m-%d %H:%M} UTC (last change)")
    for source, reason in sorted(explanation.unfed.items()):
        lines += wrapped("Empty for", f"{source}: {reason}")
    lines += wrapped("Reads", ", ".join(entry.parents) or "-")
    lines += wrapped("Read by", ", ".join((*entry.children, *entry.exposures)) or "-")
    for test in entry.tests:
        lines += wrapped("Tested", test)
    lines.append("")
    name_width = max((len(column.name) for column in entry.columns), default=0)
    type_width = max((len(column.type) for column in entry.columns), default=0)
    for column in entry.columns:
        start = f"  {column.name:<{name_width}}  {column.type:<{type_width}}  "
        lines += textwrap.wrap(
            column.description or "-", max(width, len(start) + 40),
            initial_indent=start, subsequent_indent=" " * len(start),
        )  # fmt: skip
    lines += ["", "To begin with (./deploy.sh psql):", f"  {explanation.example};"]
    click.echo("\n".join(lines))
