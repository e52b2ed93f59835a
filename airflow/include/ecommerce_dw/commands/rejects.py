"""`ecommerce-dw rejects`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sys
from pathlib import Path

import click

from ecommerce_dw.loading.decisions import DecisionError
from ecommerce_dw.loading.landing import LandingError, landing_of
from ecommerce_dw.loading.review import export_rejects, list_rejects, suggest_name
from ecommerce_dw.settings import get_settings


@click.group()
def command() -> None:
    """List rejected rows, and export them for correction."""


@command.command("list")
@click.option("--source", help="Only this source.")
@click.option("--entity", help="Only this entity.")
@click.option("--date", "business_date", type=click.DateTime(["%Y-%m-%d"]), help="Only this business date.")
@click.option("--path", help="Only this file.")
@click.option("--all", "with_settled", is_flag=True, help="Settled ones too.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Rows shown.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def list_command(
    source: str | None,
    entity: str | None,
    business_date: dt.datetime | None,
    path: str | None,
    with_settled: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List rejected rows with every reason; of refused files those that refused them."""
    rows, total = list_rejects(
        get_settings(),
        source=source,
        entity=entity,
        business_date=business_date.date() if business_date else None,
        path=path,
        with_settled=with_settled,
        limit=limit,
    )
    if as_json:
        listed = [dataclasses.asdict(row) for row in rows]
        click.echo(json.dumps({"total": total, "rows": listed}, default=str, indent=2, ensure_ascii=False))
        return
    for row in rows:
        settled = f" (settled by {row.resolved_by})" if row.resolved_by else ""
        click.echo(f"{row.source}: {row.path}, line {row.line_number}{settled}")
        for reason in row.reasons:
            click.echo(f"    {reason}")
        click.echo(f"    | {row.raw_line[:300]}")
    click.echo(f"{len(rows):,} of {total:,} rejected rows.")


@command.command("export")
@click.argument("path")
@click.option("--source", help="Needed where two sources have a file of this path.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write. Default: stdout."
)
def export_command(path: str, source: str | None, out: Path | None) -> None:
    """Export the open rejected rows of the file PATH, byte for byte, under the file's header.

    Correct them and drop the file into the landing zone as an additional part of its day; when their
    keys load from there, the rejected rows are settled.
    """
    settings = get_settings()
    try:
        exported = export_rejects(settings, path, source=source)
    except DecisionError as error:
        raise click.ClickException(str(error)) from error
    if out is None:
        sys.stdout.buffer.write(exported.content)
        sys.stdout.buffer.flush()
    else:
        out.write_bytes(exported.content)
        click.echo(f"{exported.rows:,} rows written to {out}.")
    try:
        target = landing_of(settings, exported.source).at(suggest_name(settings, exported))
    except LandingError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Correct them and save the file as {target}", err=True)
