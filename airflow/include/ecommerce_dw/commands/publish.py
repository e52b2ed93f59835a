"""`ecommerce-dw publish`."""

from __future__ import annotations

import dataclasses
import json
import sys

import click

from ecommerce_dw.db import LockHeldError, LockLostError
from ecommerce_dw.publish import PublishError, PublishSummary, publish
from ecommerce_dw.settings import get_settings
from ecommerce_dw.transform import BuildError, take_snapshots


@click.command()
@click.option(
    "--full", is_flag=True, help="Compare every row, not only those touched since the last publication."
)
@click.option("--replace", is_flag=True, help="Allow a column to change its type or to go.")
@click.option("--prune", is_flag=True, help="Drop published tables whose model is gone.")
@click.option("--run-id", help="The run this publication belongs to.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(full: bool, replace: bool, prune: bool, run_id: str | None, as_json: bool) -> None:
    """Bring the schema marts to the content of marts_build, in one transaction.

    It publishes what is built, validated or not: `ecommerce-dw validate marts` comes before.
    """
    try:
        settings = get_settings()
        summary = publish(settings, run_id=run_id, full=full, replace=replace, prune=prune)
        take_snapshots(run_id or "cli publish", settings=settings)
    except (PublishError, BuildError, LockHeldError, LockLostError) as error:
        if as_json:
            click.echo(json.dumps({"error": str(error)}))
        else:
            click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary), indent=2))
    else:
        _print(summary)


def _print(summary: PublishSummary) -> None:
    width = max((len(entry.name) for entry in summary.tables), default=0)
    for entry in summary.tables:
        compared = "all rows" if entry.is_full else "touched rows"
        notes = f"; {', '.join(entry.notes)}" if entry.notes else ""
        click.echo(
            f"marts.{entry.name:<{width}}  +{entry.inserted:,} ~{entry.updated:,} -{entry.deleted:,} "
            f"({compared} compared{notes})"
        )
    for table in summary.dropped:
        click.echo(f"marts.{table} dropped: its model is gone.")
    for warning in summary.warnings:
        click.echo(f"Warning: {warning}", err=True)
    click.echo(f"Published {len(summary.tables)} tables, {summary.changed:,} rows changed.")
