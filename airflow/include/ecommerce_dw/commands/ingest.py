"""`ecommerce-dw ingest`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import psycopg2
from rich.console import Console

from ecommerce_dw.ingest import (
    IngestSummary,
    NoWarehouseError,
    RefusedIngestError,
    UnusableFileError,
    ingest,
)
from ecommerce_dw.loading.landing import LandingError
from ecommerce_dw.one_process import STOPS
from ecommerce_dw.runs import shell_run_id
from ecommerce_dw.settings import get_settings


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--source", required=True, help="Whose file it is: a folder of contracts, such as sales.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(file: Path, source: str, as_json: bool) -> None:
    """Take one FILE to the published marts: load, checkpoints, builds with their tests, publication.

    The file is copied into the source's landing zone under its name. The same bytes once more change
    nothing; other bytes under the name are a correction of the file. A file of the source `sales` without a
    date in its name is about its greatest Date.

    Exit code 0: published. 1: landed, and then stopped; the marts are as they were. 2: the file cannot be
    used; nothing was changed. 3: the warehouse does not answer, or has no tables yet.
    """
    run_id = shell_run_id("ingest")
    console = Console(stderr=True)
    try:
        with console.status("Ingesting …") as status:
            summary = ingest(
                get_settings(),
                file,
                source,
                run_id=run_id,
                progress=lambda step: status.update(f"{step.replace('_', ' ')} …"),
            )
    except (UnusableFileError, LandingError) as error:
        _fail(2, str(error), as_json=as_json)
    except (RefusedIngestError, *STOPS) as error:
        _fail(1, str(error), as_json=as_json)
    except NoWarehouseError as error:
        _fail(3, str(error), as_json=as_json)
    except psycopg2.OperationalError as error:
        _fail(3, f"The warehouse does not answer: {str(error).strip()}", as_json=as_json)
    if as_json:
        click.echo(json.dumps(summary.as_dict(), default=str))
    else:
        click.echo("\n".join(_lines(summary)))


def _fail(code: int, message: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"error": message, "exit_code": code}))
    else:
        click.echo(message, err=True)
    sys.exit(code)


def _lines(summary: IngestSummary) -> list[str]:
    what = "unchanged" if not summary.is_new_version else "new" if summary.version == 1 else "corrected"
    lines = [
        f"{summary.source}: {summary.path} ({what}, version {summary.version}, "
        f"about {summary.business_date}): {summary.rows_read:,} rows read, "
        f"{summary.rows_loaded:,} loaded, {summary.rows_rejected:,} rejected"
    ]
    lines += [f"  line {row.line}: {'; '.join(row.reasons)}: {row.text}" for row in summary.rejected]
    if summary.rows_rejected:
        lines.append(
            f"  Correct them in the file and ingest it again under its name (`ecommerce-dw rejects export "
            f"{summary.path}` lists them all)."
        )
    if not summary.published:
        lines.append("Published: nothing changed")
    for table, counts in summary.published.items():
        lines.append("Published: " + table + " " + ", ".join(f"{n:,} {what}" for what, n in counts.items()))
    steps = ", ".join(f"{name.replace('_', ' ')} {s:.1f}" for name, s in summary.step_seconds.items())
    checks = sum(s for name, s in summary.step_seconds.items() if name.startswith("check_"))
    total = sum(summary.step_seconds.values())
    lines.append(
        f"Took {total:.1f} s, {checks:.1f} s of it checkpoints and {summary.test_seconds:.1f} s data tests "
        f"(over all threads): {steps}. Peak memory {summary.peak_memory / 1e6:.0f} MB, "
        f"beside it {summary.checkpoints_memory / 1e6:.0f} MB for the checkpoints."
    )
    return lines
