"""The smoke test of a deployment: three days of a small shop, from files to marts, in a database of its own.

It goes through the release's own programs and settings, so through its TLS, roles and passwords; the
warehouse, the landing zone and the alert channels are not touched.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg2 import sql

from ecommerce_dw.platform import database, processes
from ecommerce_dw.platform.configuration import program_environment
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.summary import Summary, read_summary
from ecommerce_dw.settings import Settings

_FIRST, _LAST = dt.date(2026, 1, 1), dt.date(2026, 1, 3)
#: About five orders a day.
_SCALE = 0.2
#: Words of a failed program that are shown (lines).
_SHOWN = 25


@dataclass(frozen=True)
class Smoke:
    """What the run did.

    Attributes:
        files, rows: Loaded.
        expectations: Met.
        orders: In `marts`.
    """

    files: int
    rows: int
    expectations: int
    orders: int

    def __str__(self) -> str:
        return (
            f"Smoke test: {self.files} files, {self.rows:,} rows, {self.orders} orders in marts, "
            f"{self.expectations} expectations met"
        )


def smoke_test(settings: Settings) -> Smoke:
    """Run the pipeline once, small, beside everything, and look at what came out.

    Raises:
        PlatformError: It failed, or came out wrong; the message says at what. The database is dropped anyway.
    """
    (settings.home / "run").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="smoke-", dir=settings.home / "run"))
    try:
        with _scratch_database(settings) as scratch:
            return _run(scratch, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _scratch_database(settings: Settings) -> Iterator[Settings]:
    name = f"{settings.warehouse_db}_smoke_{os.getpid()}"
    _execute(settings, sql.SQL("create database {}").format(sql.Identifier(name)))
    try:
        yield settings.model_copy(update={"warehouse_db": name})
    finally:
        _execute(settings, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _execute(settings: Settings, statement: sql.Composed) -> None:
    connection = database.connect(settings, settings.warehouse_db)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


def _run(scratch: Settings, folder: Path) -> Smoke:
    from shop_simulator import generate

    landing = folder / "landing" / "ecommerce"
    written = generate(landing, first=_FIRST, last=_LAST, scale=_SCALE)
    environment = _environment(scratch, folder)
    program = str(Path(sys.prefix) / "bin" / "ecommerce-dw")
    _call([program, "migrate"], environment)
    _call([program, "reprocess", "--from", str(_FIRST), "--to", str(_LAST), "--apply", "--json"], environment)
    [run_id] = _column(scratch, "select run_id from ops.runs")
    summary = read_summary(scratch, run_id)
    files, rows = sum(count.files_written for count in written.entities.values()), written.rows
    [orders] = _column(scratch, "select count(*) from warehouse.fact_orders")
    [published] = _column(
        scratch, "select sum(order_count)::bigint from marts.sales_summary where period_type = 'month'"
    )
    problems = list(_problems(summary, files, rows))
    if not orders or published != orders:
        problems.append(f"{published or 0} of {orders} orders are in marts")
    if problems:
        raise PlatformError("The smoke test's run came out wrong: " + "; ".join(problems) + ".")
    return Smoke(files, rows, summary.expectations[0], published)


def _problems(summary: Summary, files: int, rows: int) -> Iterator[str]:
    if summary.files[0] != files:
        yield f"{summary.files[0]} of {files} files are loaded"
    if summary.rows_loaded[0] != rows:
        yield f"{summary.rows_loaded[0]} of {rows} rows are loaded"
    if summary.expectations[0] != summary.expectations[1]:
        yield f"{summary.expectations[0]} of {summary.expectations[1]} expectations are met"


def _environment(scratch: Settings, folder: Path) -> dict[str, str]:
    sources = (path.name.upper() for path in scratch.contracts_dir.iterdir() if path.is_dir())
    own = {
        "ECOMMERCE_DW_HOME": str(folder),
        "WAREHOUSE_DB": scratch.warehouse_db,
        # Nobody is told of a run that is none of theirs.
        "SMTP_HOST": "",
        "ALERT_WEBHOOK_URL": "",
    }
    landings = {f"LANDING_{source}": str(folder / "landing" / source.lower()) for source in sources}
    return program_environment(scratch) | own | landings


def _call(command: list[str], environment: Mapping[str, str]) -> None:
    done = processes.run_to_end(command, environment=environment, cwd="/")
    if done.returncode != 0:
        words = "\n".join(done.stdout.splitlines()[-_SHOWN:])
        raise PlatformError(f"The smoke test failed in `ecommerce-dw {command[1]}`:\n{words}")


def _column(settings: Settings, query: str) -> list[Any]:
    connection = database.connect(settings, settings.warehouse_db)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return [row[0] for row in cursor.fetchall()]
    finally:
        connection.close()
