"""`ecommerce-dw discard`."""

from __future__ import annotations

import json

import click

from ecommerce_dw.db import LockHeldError
from ecommerce_dw.loading.decisions import DecisionError, discard
from ecommerce_dw.settings import get_settings


@click.command()
@click.argument("path")
@click.option("--source", help="Needed where two sources have a file of this path.")
@click.option("--reason", default="", help="Why; kept in the journal.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(path: str, source: str | None, reason: str, as_json: bool) -> None:
    """Settle the refused file PATH by leaving it out until other bytes come under its path."""
    try:
        entry = discard(get_settings(), path, source=source, reason=reason)
    except (DecisionError, LockHeldError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"source": entry.source, "path": entry.path, "status": "discarded"}))
    else:
        click.echo(f"{entry.path} is discarded. It is looked at again when other bytes come.")
