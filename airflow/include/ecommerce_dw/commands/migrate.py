"""`ecommerce-dw migrate`."""

from __future__ import annotations

import click

from ecommerce_dw.db import LockHeldError
from ecommerce_dw.migrations import migrate


@click.command()
def command() -> None:
    """Bring the schemas raw and ops to the newest version, in one transaction."""
    try:
        revision = migrate()
    except LockHeldError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"The warehouse is at migration {revision}.")
