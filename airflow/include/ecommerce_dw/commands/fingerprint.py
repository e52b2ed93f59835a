"""`ecommerce-dw fingerprint`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from ecommerce_dw.fingerprint import SCHEMAS, TableFingerprint, fingerprint


@click.command()
@click.option(
    "--schema",
    "schemas",
    multiple=True,
    help=f"Schema to look at; may be given several times. Default: {', '.join(SCHEMAS)}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--compare",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What `fingerprint --json` printed of another state: name what differs; exit 1 when anything does.",
)
def command(schemas: tuple[str, ...], as_json: bool, compare: Path | None) -> None:
    """Print each table's row count and order-independent checksum, technical stamps left out.

    Two states of the warehouse are the same exactly when their fingerprints are.

    Example: `fingerprint --json > before.json`, then, after a change, `fingerprint --compare before.json`.
    """
    try:
        found = fingerprint(schemas=schemas or SCHEMAS)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if compare is not None:
        earlier = _read(compare)
        _tell_differences(
            [entry for entry in earlier if not schemas or entry.schema in schemas], found, as_json=as_json
        )
        return
    if as_json:
        click.echo(json.dumps([entry._asdict() for entry in found], indent=2))
        return
    width = max((len(f"{entry.schema}.{entry.table}") for entry in found), default=0)
    for entry in found:
        click.echo(f"{entry.schema + '.' + entry.table:<{width}}  {entry.rows:>12,}  {entry.checksum}")
    if not found:
        click.echo("There are no tables yet: run `ecommerce-dw build`.")


def _read(file: Path) -> list[TableFingerprint]:
    try:
        return [TableFingerprint(**entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise click.UsageError(
            f"{file} is not what `ecommerce-dw fingerprint --json` prints: {error}"
        ) from error


def _tell_differences(
    earlier: Sequence[TableFingerprint], now: Sequence[TableFingerprint], *, as_json: bool
) -> None:
    """Print the tables that differ; exit 1 when there are any."""
    before = {(entry.schema, entry.table): entry for entry in earlier}
    after = {(entry.schema, entry.table): entry for entry in now}
    differing = [
        {
            "table": ".".join(key),
            "rows_before": before[key].rows if key in before else None,
            "rows_now": after[key].rows if key in after else None,
        }
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    if as_json:
        click.echo(json.dumps(differing, indent=2))
    else:
        for entry in differing:
            rows = [
                "not there" if entry[side] is None else f"{entry[side]:,} rows"
                for side in ("rows_before", "rows_now")
            ]
            click.echo(f"{entry['table']}: differs ({rows[0]} before, {rows[1]} now)")
        same = len(before.keys() & after.keys()) - sum(None not in entry.values() for entry in differing)
        click.echo(f"{same} tables are the same, {len(differing)} differ.")
    if differing:
        raise SystemExit(1)
