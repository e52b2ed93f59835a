"""`ecommerce-dw export`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import psycopg2

from ecommerce_dw.settings import get_settings


@click.command()
@click.argument("table")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="A file, whole or not at all. Default: standard output.",
)
def command(table: str, output: Path | None) -> None:
    """Write TABLE as CSV for spreadsheets, as analysts read it: no personal data, no formulas.

    A text that a spreadsheet would compute gets an apostrophe before it. Open it with the comma as separator.
    For programs, COPY in psql gives the values as they are.
    """
    from ecommerce_dw.explain import UnknownTableError
    from ecommerce_dw.export import export

    settings = get_settings()
    try:
        if output is None:
            export(settings, table, sys.stdout.buffer)
            return
        building = output.with_name(f".{output.name}.{os.getpid()}.tmp")
        try:
            with building.open("wb") as file:
                rows = export(settings, table, file)
            building.replace(output)
        finally:
            building.unlink(missing_ok=True)
    except UnknownTableError as error:
        raise click.UsageError(str(error)) from error
    except BrokenPipeError:  # who reads has enough
        raise
    except (psycopg2.Error, OSError) as error:
        raise click.ClickException(str(error).strip()) from error
    click.echo(f"{output}: {rows:,} rows.", err=True)
