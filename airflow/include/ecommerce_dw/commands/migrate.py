"""`ecommerce-dw migrate`."""

from __future__ import annotations

import click

from ecommerce_dw.migrations import migrate


@click.command()
def command() -> None:
    """Bring the schemas raw and ops to the newest version, in one transaction."""
    click.echo(f"The warehouse is at migration {migrate()}.")
