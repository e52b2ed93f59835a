"""`ecommerce-dw simulate-day`."""

from __future__ import annotations

import datetime as dt

import click

from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.sample import continue_sample
from ecommerce_dw.settings import get_settings


@click.command()
@click.option(
    "--date",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Last day to land. Default: yesterday (UTC), where the sample lives on.",
)
def command(date: dt.datetime | None) -> None:
    """Let the sample shop live on: land its files of the days that are missing.

    What the DAG simulate_shop_day does each night. Exit code 1: there is no day to simulate here.
    """
    try:
        sample, added = continue_sample(get_settings(), date.date() if date else None)
    except PlatformError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Sample shop {sample.opening} to {sample.last}: {added or 'no'} days added.")
