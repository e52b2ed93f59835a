"""`ecommerce-dw validate`."""

from __future__ import annotations

import datetime as dt
import json

import click

from ecommerce_dw import db
from ecommerce_dw.quality import CHECKPOINTS, validate
from ecommerce_dw.runs import get_run
from ecommerce_dw.settings import get_settings


@click.command()
@click.argument("checkpoint", type=click.Choice(CHECKPOINTS))
@click.option("--run-id", help="Run the results belong to. Default: the latest run.")
@click.option("--table", "tables", multiple=True, help="Only this table; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(checkpoint: str, run_id: str | None, tables: tuple[str, ...], as_json: bool) -> None:
    """Run a Great Expectations checkpoint on what was touched since the last publication.

    Exits with 1 when a critical expectation fails and nobody accepted it; the message names the expectation,
    the rows, and what to do.
    """
    settings = get_settings()
    if run_id is None:
        connection = db.connect("transformer", settings=settings)
        try:
            run = get_run(connection)
        finally:
            connection.close()
        run_id = run.run_id if run else f"cli__{dt.datetime.now(dt.UTC):%Y-%m-%dT%H-%M-%S}"
    chosen = next(name for name in CHECKPOINTS if name == checkpoint)
    try:
        summary = validate(settings, chosen, run_id, tables=tables or None)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(json.dumps(summary.as_dict(), indent=2, default=str) if as_json else summary.describe())
    if not summary.is_success:
        raise SystemExit(1)
