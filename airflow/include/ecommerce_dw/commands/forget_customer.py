"""`ecommerce-dw forget-customer`."""

from __future__ import annotations

import dataclasses
import json

import click

from ecommerce_dw.db import LockHeldError
from ecommerce_dw.loading.erasure import UnknownCustomerError, forget_customer
from ecommerce_dw.loading.landing import LandingError
from ecommerce_dw.loading.personal import UnerasableError
from ecommerce_dw.loading.tombstones import TombstoneError
from ecommerce_dw.one_process import STOPS
from ecommerce_dw.runs import shell_run_id
from ecommerce_dw.settings import get_settings


@click.command()
@click.argument("customer_id", metavar="ID")
@click.option("--source", help="Needed where several sources have a customer of this id.")
@click.option("--no-run", is_flag=True, help="Leave warehouse and marts to the next run.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(customer_id: str, source: str | None, no_run: bool, as_json: bool) -> None:
    """Erase the personal data of the customer ID: in raw, in rejected rows, and in the landed files.

    Rows, keys and money stay. Then a run brings warehouse and marts up to date. What comes later is erased as
    it comes: a file that is delivered again, a replay, a restored backup. Backups that were taken before keep
    the data until they are deleted (BACKUP_KEEP). It may be done again at any time.

    Exit code 0: forgotten. 1: nothing was changed, or the data is erased and the run stopped; the message
    says which.
    """
    from ecommerce_dw.forgetting import run_again  # dbt, which takes seconds to import

    settings = get_settings()
    try:
        done = forget_customer(settings, customer_id, source=source)
    except (UnknownCustomerError, UnerasableError, TombstoneError, LandingError, LockHeldError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(done)))
    else:
        click.echo(
            f"{done.source}: personal data was blanked in {done.rows:,} rows and {done.rejected_rows:,} "
            f"rejected rows, {len(done.files):,} landed files were rewritten."
        )
    if no_run:
        return
    try:
        has_run = run_again(settings, shell_run_id("forget"))
    except STOPS as error:
        raise click.ClickException(
            "Raw and the landed files are without the personal data; the marts follow with the next run "
            f"that succeeds: {error}"
        ) from error
    if has_run and not as_json:
        click.echo("Warehouse and marts are up to date.")
