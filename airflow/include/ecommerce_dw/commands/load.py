"""`ecommerce-dw load`."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import sys
from collections.abc import Callable, Iterator

import click

from ecommerce_dw.loading import LoadSummary, load
from ecommerce_dw.loading.loader import STOPS
from ecommerce_dw.logs import about
from ecommerce_dw.runs import shell_run_id
from ecommerce_dw.settings import get_settings


@click.command()
@click.option("--source", help="Only this source's files.")
@click.option(
    "--date",
    "business_date",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Files with a later date stay where they are. Default: the greatest date that has landed.",
)
@click.option(
    "--verify", is_flag=True, help="Hash every file, also those whose size and time (or etag) are unchanged."
)
@click.option("--workers", type=click.IntRange(1), help="Files loaded side by side. Default: LOAD_WORKERS.")
@click.option("--run-id", help="The run this belongs to, kept in the ledger. Default: one of its own.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    source: str | None,
    business_date: dt.datetime | None,
    verify: bool,
    workers: int | None,
    run_id: str | None,
    as_json: bool,
) -> None:
    """Load every landed file that is not loaded in its present form.

    Exit code 1: a file was refused or could not be read; the others are loaded.
    """
    run_id = run_id or shell_run_id("load")
    with about(run_id=run_id, step="load"), _progress(is_quiet=as_json) as progress:
        try:
            summary = load(
                get_settings(),
                source=source,
                business_date=business_date.date() if business_date else None,
                run_id=run_id,
                verify=verify,
                workers=workers,
                progress=progress,
            )
        except LookupError as error:
            raise click.UsageError(str(error)) from error
        except STOPS as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary), default=str, indent=2))
    else:
        _print(summary)
    if summary.files_refused or summary.files_failed:
        raise SystemExit(1)


@contextlib.contextmanager
def _progress(*, is_quiet: bool) -> Iterator[Callable[[int, int, int, int, str], None] | None]:
    if is_quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("Loading"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[path]}"),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("load", total=None, path="")

        def show(done: int, total: int, _bytes_done: int, _bytes_total: int, path: str) -> None:
            bar.update(task, completed=done, total=total, path=path)

        yield show


def _print(summary: LoadSummary) -> None:
    click.echo(
        f"Business date {summary.business_date or '-'}: {summary.files_loaded:,} files loaded, "
        f"{summary.files_skipped:,} unchanged, {summary.files_refused:,} refused, "
        f"{summary.files_failed:,} to be tried again, in {summary.seconds:.1f} s."
    )
    for entity in summary.entities:
        click.echo(
            f"  {entity.source}.{entity.entity}: {entity.rows_read:,} rows read, "
            f"{entity.rows_loaded:,} loaded, {entity.rows_rejected:,} rejected"
        )
    for outcome in summary.outcomes:
        if outcome.outcome in ("refused", "unreadable", "failed"):
            click.echo(f"  {outcome.outcome}: {outcome.source}: {outcome.path}: {outcome.message}", err=True)
    _list("No contract's pattern names", summary.unmatched)
    _list("Gone from the landing zone (their rows stay)", summary.missing)


def _list(title: str, paths: tuple[str, ...]) -> None:
    if paths:
        shown = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
        click.echo(f"  {title}: {shown}", err=True)
