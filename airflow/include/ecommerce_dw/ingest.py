"""One file to the published marts, in this process: the steps of the daily run, without Airflow."""

from __future__ import annotations

import datetime as dt
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ecommerce_dw import db, pipeline
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.loading.dating import GreatestDate, greatest_date
from ecommerce_dw.loading.discover import LandedFile, match_path
from ecommerce_dw.loading.landing import (
    LocalFile,
    UnreadableFileError,
    is_passed_over,
    landing_of,
)
from ecommerce_dw.loading.stream import FileReader, RefusedFileError, hash_file, read_header
from ecommerce_dw.one_process import alone, steps_after_load, take
from ecommerce_dw.quality.apart import checkpoints_apart
from ecommerce_dw.settings import Settings
from ecommerce_dw.transform import prepare

#: Bad rows that a summary names.
_NAMED_REJECTS = 5
#: A day is over somewhere on earth up to this much before it is over in UTC.
_EARLIEST_DAY = dt.timedelta(hours=14)


class UnusableFileError(ValueError):
    """A file that was not landed: nothing was changed. The message says what is wrong and what to do."""


class RefusedIngestError(RuntimeError):
    """A file that was landed and refused: none of its rows is in the warehouse, nothing was published."""


class NoWarehouseError(RuntimeError):
    """The warehouse was never migrated."""


@dataclass(frozen=True)
class RejectedRow:
    """A row that did not load.

    Attributes:
        line: Its first line in the file; the header is line 1.
        reasons: What is wrong with it.
        text: The line as it stands in the file.
    """

    line: int
    reasons: tuple[str, ...]
    text: str | None


@dataclass(frozen=True)
class IngestSummary:
    """What one ingest did.

    Attributes:
        run_id: Name of the run in `ops.runs`.
        source, path: Whose file, and its path below the source's landing zone.
        is_new_version: Whether its bytes were not loaded yet.
        version: 1, or more for a correction.
        business_date: The file's; None where it has no date.
        rows_read, rows_loaded, rows_rejected: Records of the file.
        rejected: The first rejected rows.
        published: Rows inserted, updated and deleted per published table that changed.
        step_seconds: Wall time per step, in their order.
        test_seconds: What dbt's data tests took of that, added up over its threads.
        peak_memory: Greatest resident memory of this process so far, in bytes.
        checkpoints_memory: The same of the process in which the checkpoints ran.
    """

    run_id: str
    source: str
    path: str
    is_new_version: bool
    version: int
    business_date: dt.date | None
    rows_read: int
    rows_loaded: int
    rows_rejected: int
    rejected: tuple[RejectedRow, ...]
    published: Mapping[str, Mapping[str, int]]
    step_seconds: Mapping[str, float]
    test_seconds: float
    peak_memory: int
    checkpoints_memory: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _LedgerEntry:
    file_id: int
    version: int
    status: str
    business_date: dt.date | None
    rows_read: int
    rows_loaded: int
    rows_rejected: int
    message: str | None
    run_id: str | None


def ingest(
    settings: Settings,
    file: Path,
    source: str,
    *,
    run_id: str,
    today: dt.date | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> IngestSummary:
    """Take one file to the published marts.

    The landing zone is the archive, so the file is copied there under its name first (one that lies there
    already stays). The same bytes once more change nothing; other bytes under the name are a correction.
    Other files of the source that wait there are loaded with it, as by every run.

    Args:
        settings: Whose warehouse.
        file: A file that a pattern of the source's contracts names.
        source: Whose it is.
        run_id: Name of the run in `ops.runs`.
        today: A later business date is taken for an error; None: the last day that has begun on earth.
        progress: Called with each step before it starts.

    Raises:
        UnusableFileError: It cannot be read, no pattern names it, its header is wrong, it is about a day to
            come. Nothing was changed.
        NoWarehouseError: There are no tables yet.
        ecommerce_dw.loading.landing.LandingError: The landing zone cannot be reached. Nothing was changed.
        RefusedIngestError: Too many of its rows break the contract. `marts` is as it was.
        ecommerce_dw.one_process.RunIsGoingError: A run of the pipeline is going.
        ecommerce_dw.pipeline.CheckFailedError: A checkpoint stopped it; `marts` is as it was.
        ecommerce_dw.transform.BuildError: A layer did not build; `marts` is as it was.
    """
    if _query(settings, "select to_regclass('ops.runs') is null", ()) == [(True,)]:
        raise NoWarehouseError("The warehouse has no tables yet: `ecommerce-dw migrate` makes them.")
    clock = _StepClock(progress)
    with alone(f"ingest ({run_id})", settings):
        with clock.step("land"):
            path = _land(settings, file, source, today or (dt.datetime.now(dt.UTC) + _EARLIEST_DAY).date())
        with checkpoints_apart(settings, run_id) as check_apart:

            def check(checkpoint: str) -> dict[str, object]:
                # Starting dbt takes 3 s, and the first checkpoint as long to start, on another core.
                prepares = checkpoint == "raw"
                return check_apart(
                    checkpoint, meanwhile=partial(prepare, run_id, settings=settings) if prepares else None
                )

            results = take(
                (
                    ("load", lambda: _load(settings, source, path, run_id)),
                    ("freshness", lambda: pipeline.freshness_step(run_id=run_id, settings=settings)),
                    *steps_after_load(settings, run_id, check),
                ),
                settings,
                run_id,
                around=clock.step,
                finishing=clock.step("alerts"),
            )
    entry: _LedgerEntry = results["load"]
    return IngestSummary(
        run_id=run_id,
        source=source,
        path=path,
        is_new_version=entry.run_id == run_id,
        version=entry.version,
        business_date=entry.business_date,
        rows_read=entry.rows_read,
        rows_loaded=entry.rows_loaded,
        rows_rejected=entry.rows_rejected,
        rejected=_rejected(settings, entry.file_id) if entry.rows_rejected else (),
        published={table: counts for table, counts in results["publish"].items() if any(counts.values())},
        step_seconds=clock.seconds,
        test_seconds=_test_seconds(settings, run_id),
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        checkpoints_memory=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    )


class _StepClock:
    """Wall time of the steps."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._progress(name)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - started, 3)


# ------------------------------------------------------------------------------------------------- landing


def _land(settings: Settings, file: Path, source: str, today: dt.date) -> str:
    """Copy a usable file into its landing zone; its path there."""
    contracts = read_contracts(settings.contracts_dir)
    if source not in contracts:
        raise UnusableFileError(f"There is no source {source!r}; there are {', '.join(sorted(contracts))}.")
    if not file.is_file():
        raise UnusableFileError(f"{file} is no file. Nothing was changed.")
    landing = landing_of(settings, source)
    local = LocalFile(file)
    path = landing.path_of(file) or file.name
    found = match_path(path, contracts[source].values())
    if found is None or any(is_passed_over(part) for part in path.split("/")):
        patterns = ", ".join(contract.layout.pattern for contract in contracts[source].values())
        raise UnusableFileError(
            f"No file of source {source} is called {path}: its contracts name {patterns}. Rename it, or put "
            f"it below {landing} under such a path and ingest it from there. Nothing was changed."
        )
    contract, name_date, _ = found
    try:
        _check(contract, local, path, name_date, today)
    except (RefusedFileError, UnreadableFileError) as error:
        raise UnusableFileError(f"{file}: {error} Nothing was changed.") from error
    is_there = landing.path_of(file) is not None
    if not is_there and not (landing.holds(path) and hash_file(landing.at(path)) == hash_file(local)):
        landing.put(path, file)
    return path


def _check(contract: Contract, file: LocalFile, path: str, name_date: dt.date | None, today: dt.date) -> None:
    """Find out before it is landed whether a file cannot load at all.

    Raises:
        RefusedFileError: Its header is wrong.
        UnreadableFileError: It cannot be read.
        UnusableFileError: It is about a day to come.
    """
    reader = FileReader(file, is_gzip=path.endswith(".gz"))
    try:
        start, is_whole, _ = reader.start()
        read_header(start, contract, is_whole_file=is_whole)
    finally:
        reader.close()
    found: GreatestDate | None = None
    if name_date is None:
        found = greatest_date(LandedFile(contract, path, file, None, None, reader.form))
        if found is None:
            raise UnusableFileError(
                f"{file}: no row has a date (YYYY-MM-DD) in its column "
                f"{contract.column(contract.date_column or '').header!r}, and neither has its name. "
                "Nothing was changed."
            )
    date = found.date if found else name_date
    if date is not None and date > today:
        where = f"line {found.line}" if found else "its name"
        raise UnusableFileError(
            f"{file}: {where} has the date {date}, which is still to come (today is {today}). Correct it: "
            "everything that counts days would count up to it. Nothing was changed."
        )


# ----------------------------------------------------------------------------------------------------- rows


def _load(settings: Settings, source: str, path: str, run_id: str) -> _LedgerEntry:
    counts = pipeline.load_files(
        settings, run_id=run_id, business_date=None, source=source, is_full_refresh=False, reload=None
    )
    entry = _ledger_entry(settings, source, path)
    if entry is None:
        raise RefusedIngestError(
            f"{path} was not loaded: {counts['files_failed']} files could not be read. It lies in "
            f"{settings.landing_address(source)}; `ecommerce-dw load --source {source}` says more. "
            "Nothing was published."
        )
    if entry.status != "loaded":
        raise RefusedIngestError(_why_not_loaded(settings, source, path, entry))
    return entry


def _why_not_loaded(settings: Settings, source: str, path: str, entry: _LedgerEntry) -> str:
    rows = [
        f"  line {row.line}: {'; '.join(row.reasons)}: {row.text}"
        for row in _rejected(settings, entry.file_id)
    ]
    return "\n".join(
        [
            f"{path} is {entry.status}: {entry.message or ''}".rstrip(": "),
            *rows,
            "None of its rows is in the warehouse, an earlier version's stay, and nothing was published. "
            "Correct the file and ingest it again under the same name, or settle it with "
            f"`ecommerce-dw accept {path}` or `ecommerce-dw discard {path}`.",
        ]
    )


def _ledger_entry(settings: Settings, source: str, path: str) -> _LedgerEntry | None:
    rows = _query(
        settings,
        "select file_id, version, status, business_date, rows_read, rows_loaded, rows_rejected, message, "
        "run_id from raw.load_ledger where source = %s and path = %s and is_current",
        (source, path),
    )
    return _LedgerEntry(*rows[0]) if rows else None


def _rejected(settings: Settings, file_id: int) -> tuple[RejectedRow, ...]:
    rows = _query(
        settings,
        "select line_number, reasons, raw_line from raw.rejected_rows where file_id = %s "
        "order by line_number limit %s",
        (file_id, _NAMED_REJECTS),
    )
    return tuple(RejectedRow(line, tuple(reasons), text) for line, reasons, text in rows)


def _test_seconds(settings: Settings, run_id: str) -> float:
    [(seconds,)] = _query(
        settings,
        "select coalesce(sum(execution_seconds), 0) from ops.dbt_results "
        "where run_id = %s and resource_type = 'test'",
        (run_id,),
    )
    return round(float(seconds), 2)


def _query(settings: Settings, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
    with db.transaction("transformer", settings=settings) as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()
