"""`ecommerce-dw withdraw`."""

from __future__ import annotations

import dataclasses
import json

import click

from ecommerce_dw.db import LockHeldError
from ecommerce_dw.loading.decisions import DecisionError, withdraw
from ecommerce_dw.settings import get_settings


@click.command()
@click.argument("path")
@click.option("--source", help="Needed where two sources have a file of this path.")
@click.option("--reason", default="", help="Why; kept in the journal.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(path: str, source: str | None, reason: str, as_json: bool) -> None:
    """Take the rows of the loaded file PATH out, until other bytes come under its path.

    The next build brings the models up to date.
    """
    try:
        withdrawal = withdraw(get_settings(), path, source=source, reason=reason)
    except (DecisionError, LockHeldError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(withdrawal)))
    else:
        click.echo(f"{withdrawal.path}: {withdrawal.rows_removed:,} rows are taken out.")
