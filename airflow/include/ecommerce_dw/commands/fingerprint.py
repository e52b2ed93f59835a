"""`ecommerce-dw fingerprint`."""

from __future__ import annotations

import json

import click

from ecommerce_dw.fingerprint import SCHEMAS, fingerprint


@click.command()
@click.option(
    "--schema",
    "schemas",
    multiple=True,
    help=f"Schema to look at; may be given several times. Default: {', '.join(SCHEMAS)}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(schemas: tuple[str, ...], as_json: bool) -> None:
    """Print each table's row count and order-independent checksum, technical stamps left out.

    Two states of the warehouse are the same exactly when their fingerprints are.
    """
    try:
        found = fingerprint(schemas=schemas or SCHEMAS)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        click.echo(json.dumps([entry._asdict() for entry in found], indent=2))
        return
    width = max((len(f"{entry.schema}.{entry.table}") for entry in found), default=0)
    for entry in found:
        click.echo(f"{entry.schema + '.' + entry.table:<{width}}  {entry.rows:>12,}  {entry.checksum}")
    if not found:
        click.echo("There are no tables yet: run `ecommerce-dw build`.")
