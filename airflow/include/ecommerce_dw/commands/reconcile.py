"""`ecommerce-dw reconcile`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence
from decimal import Decimal

import click

from ecommerce_dw import db
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.reconciliation import Finding, findings, measure, one_day, taken_in, whole
from ecommerce_dw.settings import get_settings


@click.command()
@click.option("--source", help="Only this source.")
@click.option(
    "--date",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Only this day: its files up to the warehouse, what counts on it in the marts.",
)
@click.option(
    "--files",
    "reads_files",
    is_flag=True,
    help="Read the landed files again instead of believing the ledger.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(source: str | None, day: dt.datetime | None, reads_files: bool, as_json: bool) -> None:
    """What became of every row and amount from the file to the marts, each difference with its name.

    Measures now, and keeps the outcome in ops.reconciliation. Exits with 1 when something is unexplained.
    """
    settings = get_settings()
    contracts = read_contracts(settings.contracts_dir)
    if source is not None and source not in contracts:
        raise click.UsageError(f"No source {source!r}; there are {', '.join(contracts)}.")
    plan = one_day(contracts, day.date(), source) if day else whole(contracts, source)
    connection = db.connect("transformer", settings=settings)
    try:
        measurement = measure(
            settings,
            contracts,
            plan,
            run_id=f"cli__{dt.datetime.now(dt.UTC):%Y-%m-%dT%H-%M-%S}",
            upto=taken_in(connection),
            reads_files=reads_files,
        )
        found = findings(connection, measurement)
    finally:
        connection.close()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in found], indent=2, default=str))
    else:
        _print(found)
    if not all(finding.is_explained for finding in found):
        raise SystemExit(1)


def _print(found: Sequence[Finding]) -> None:
    step: tuple[str, str, str] | None = None
    for finding in found:
        here = (finding.source_system, finding.from_object, finding.to_object)
        if not finding.value_from and not finding.value_to and finding.is_explained:
            continue
        if step is None or step[0] != here[0]:
            click.echo(("\n" if step else "") + finding.source_system)
        if here != step:
            step = here
            click.echo(f"  {finding.from_object} -> {finding.to_object}")
        change = "" if finding.value_from == finding.value_to else f" -> {_number(finding.value_to)}"
        click.echo(f"    {finding.measure:<14}{_number(finding.value_from):>20}{change}")
        for difference in finding.differences:
            value = ("+" if difference.value > 0 else "") + _number(difference.value)
            rows = f"{difference.row_count:,} {'row' if difference.row_count == 1 else 'rows'}"
            click.echo(f"      {difference.name:<28}{value:>20}  {rows}: {difference.meaning}")
            click.echo(f"        see: {difference.see}")
        if not finding.is_explained:
            days = ", ".join(finding.unexplained_days[:10])
            more = len(finding.unexplained_days) - 10
            click.echo(
                f"      UNEXPLAINED {_number(finding.unexplained)}, {finding.mismatches:,} rows not as "
                f"expected: {days}{f' and {more} days more' if more > 0 else ''}"
            )
    if step is None:
        click.echo("Nothing is loaded yet: `ecommerce-dw load`.")
        return
    bad = [finding for finding in found if not finding.is_explained]
    if bad:
        click.echo(
            f"\n{len(bad)} of {len(found)} comparisons have a difference without a name. `--date DAY` shows "
            "a day; docs/reconciliation.md says how to go on."
        )
    else:
        click.echo(f"\nAll {len(found)} comparisons are explained.")


def _number(value: Decimal) -> str:
    """A number with separators, without zeros at its end; money has at least two decimals."""
    text = f"{value:,f}"
    if "." not in text:
        return text
    whole_part, decimals = text.split(".")
    return f"{whole_part}.{decimals.rstrip('0').ljust(2, '0')}"
