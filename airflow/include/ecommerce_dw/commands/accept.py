"""`ecommerce-dw accept`."""

from __future__ import annotations

import dataclasses
import json

import click

from ecommerce_dw.loading.decisions import DecisionError, accept, accept_expectation
from ecommerce_dw.loading.loader import STOPS
from ecommerce_dw.settings import get_settings


@click.command()
@click.argument("path", required=False)
@click.option("--source", help="Needed where two sources have a file of this path.")
@click.option("--expectation", metavar="NAME", help="Accept a failed expectation instead of a file.")
@click.option("--reason", default="", help="Why; kept in the journal.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    path: str | None, source: str | None, expectation: str | None, reason: str, as_json: bool
) -> None:
    """Load the refused file PATH although too many of its rows fail; its bad rows are kept as rejected.

    With --expectation: let a failed expectation pass for everything that is loaded so far.
    """
    if (path is None) == (expectation is None):
        raise click.UsageError("Give either a PATH or --expectation NAME.")
    settings = get_settings()
    if expectation is not None:
        load_id_to = accept_expectation(settings, expectation, reason=reason)
        if as_json:
            click.echo(json.dumps({"expectation": expectation, "load_id_to": load_id_to}))
        else:
            click.echo(f"Expectation {expectation} is accepted for everything up to load id {load_id_to}.")
        return
    assert path is not None
    try:
        outcome = accept(settings, path, source=source, reason=reason)
    except (DecisionError, *STOPS) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(outcome), default=str))
    else:
        click.echo(
            f"{outcome.path}: {outcome.outcome}, {outcome.rows_loaded:,} rows loaded, "
            f"{outcome.rows_rejected:,} rejected."
        )
    if outcome.outcome != "loaded":
        raise click.ClickException(outcome.message or f"{outcome.path} is {outcome.outcome}.")
