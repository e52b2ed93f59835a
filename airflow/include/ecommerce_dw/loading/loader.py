"""The loader: every landed file that is not loaded in its present form, once, whole or not at all."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextvars import copy_context

import psycopg2
import psycopg2.extensions

from ecommerce_dw import db
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.loading import ddl, erasure, journal
from ecommerce_dw.loading.batch import SMALL_FILE, Batch, InconsistentLoadError, RunContext, SplitBatch
from ecommerce_dw.loading.copy import Notices
from ecommerce_dw.loading.dating import date_files
from ecommerce_dw.loading.discover import LandedFile, LandingZone, discover
from ecommerce_dw.loading.landing import LandingError, UnreadableFileError, landing_of
from ecommerce_dw.loading.ledger import Known, is_settled, read_known, record_attempts
from ecommerce_dw.loading.outcome import (
    EntityLoad,
    FileOutcome,
    LoadSummary,
    Outcome,
    about_file,
    outcome_of,
)
from ecommerce_dw.loading.personal import UnerasableError
from ecommerce_dw.loading.reload import Reload
from ecommerce_dw.loading.tombstones import TombstoneError, read_tombstones
from ecommerce_dw.logs import about
from ecommerce_dw.settings import Settings

logger = logging.getLogger(__name__)

#: What stops a load as a whole, with a message that says what was kept and what to do.
STOPS = (
    LandingError,
    TombstoneError,
    UnerasableError,
    journal.JournalError,
    ddl.ContractChangeError,
    db.LockHeldError,
)

_SMALL_GZIP_FILE = 32 << 10
_BATCH_FILES = 200
_BATCH_BYTES = 4 << 20

#: Pause before the one more try of a transaction that the server ended for another one's sake (s).
_PAUSE = (0.1, 0.6)
#: Class of the server's errors that are about what a row or value may be, not about its own health.
_LIMIT_EXCEEDED = "54"

#: Called with (files done, files to do, bytes done, bytes to do, path of the last file).
Progress = Callable[[int, int, int, int, str], None]


def load(
    settings: Settings,
    *,
    source: str | None = None,
    business_date: dt.date | None = None,
    run_id: str | None = None,
    verify: bool = False,
    workers: int | None = None,
    paths: Iterable[str] | None = None,
    reload: Reload | None = None,
    progress: Progress | None = None,
    contracts: Mapping[str, Mapping[str, Contract]] | None = None,
) -> LoadSummary:
    """Load every landed file, up to a business date, that is not loaded in its present form.

    Args:
        settings: Where the landing zones, the contracts and the warehouse are.
        source: Only this source's files.
        business_date: Files with a later date stay where they are. None: the greatest date that has landed.
        run_id: The run this belongs to, kept in the ledger.
        verify: Hash the files whose size and time are unchanged too.
        workers: Files loaded side by side; None: setting `load_workers`.
        paths: Only these files.
        reload: Files that become a new version although their bytes are those that are loaded, so that what
            was made of them is made again. A file that a person discarded or withdrew stays set aside.
        progress: Called after each file or batch of files.
        contracts: By source and entity; None: those of the settings.

    Returns:
        What happened. A refused or unreadable file is part of it, not an error.

    Raises:
        ecommerce_dw.loading.landing.LandingError: A landing zone cannot be reached.
        ecommerce_dw.loading.ddl.ContractChangeError: A table cannot follow its contract.
        ecommerce_dw.db.LockHeldError: Transform or publish held the lock for too long, or somebody a table.
        ecommerce_dw.loading.tombstones.TombstoneError: Nobody can say who is to be forgotten.
        ecommerce_dw.loading.personal.UnerasableError: A contract requires what has to go.
        psycopg2.OperationalError: The warehouse does not answer.
    """
    started = time.perf_counter()
    contracts = contracts if contracts is not None else read_contracts(settings.contracts_dir)
    # Every source's tables, whichever is loaded: the models read them all.
    all_contracts = [contract for entities in contracts.values() for contract in entities.values()]
    if source is not None:
        if source not in contracts:
            raise LookupError(
                f"No contracts for source {source!r}. There are: {', '.join(sorted(contracts))}."
            )
        contracts = {source: contracts[source]}
    read_tombstones(settings)
    with (
        db.named_holders(settings, "The load"),
        contextlib.closing(connect_loader(settings)) as connection,
    ):
        ddl.ensure_tables(connection, all_contracts, owner=lambda: db.connect("owner", settings=settings))
        ddl.ensure_indexes(connection, all_contracts)
        known = {name: read_known(connection, name) for name in contracts}
        zones = {
            name: date_files(
                discover(landing_of(settings, name), entities),
                known[name],
                max_expansion=settings.load_max_expansion,
            )
            for name, entities in contracts.items()
        }
        if business_date is None:
            dates = [file.business_date for zone in zones.values() for file in zone.files]
            business_date = max(filter(None, dates), default=None)
        only = set(paths) if paths is not None else None
        candidates, skipped = _classify(zones, known, business_date, verify=verify, only=only, reload=reload)
        unreadable = [
            _unreadable_entry(name, path, reason)
            for name, zone in zones.items()
            for path, reason in zone.unreadable
        ]
        record_attempts(connection, run_id, [*skipped, *unreadable])
        decisions = journal.last_decisions(settings)
        context = RunContext(settings, run_id, known, decisions, _sole_files(candidates), reload)
        outcomes = _Loader(context, progress).run(candidates, workers or settings.load_workers)
        erasure.rewrite_files(connection, settings, contracts)
        indexed = time.perf_counter()
        ddl.ensure_indexes(connection, all_contracts)
        index_seconds = time.perf_counter() - indexed + sum(outcome.index_seconds for outcome in outcomes)
        tables = {(c.source, c.entity): c.table for c in all_contracts}
        ddl.analyze_grown(
            connection,
            {tables[e.source, e.entity]: e.rows_loaded for e in _by_entity(outcomes) if e.rows_loaded},
        )

    missing = () if only is not None else _missing(zones, known)
    for name, path in missing:
        with about(source=name, file=path):
            logger.warning(
                "%s: %s is gone from the landing zone; its rows stay. `withdraw` takes them out.", name, path
            )
    outcomes = sorted([*outcomes, *unreadable], key=lambda outcome: (outcome.source, outcome.path))
    return LoadSummary(
        business_date=business_date,
        files_loaded=_count(outcomes, "loaded"),
        files_skipped=len(skipped) + _count(outcomes, "skipped", "unchanged", "set_aside"),
        files_refused=_count(outcomes, "refused"),
        files_failed=_count(outcomes, "unreadable", "failed"),
        rows_read=sum(outcome.rows_read for outcome in outcomes if outcome.outcome == "loaded"),
        rows_loaded=sum(outcome.rows_loaded for outcome in outcomes),
        rows_rejected=sum(outcome.rows_rejected for outcome in outcomes if outcome.outcome == "loaded"),
        entities=_by_entity(outcomes),
        outcomes=tuple(outcomes),
        unmatched=tuple(f"{name}: {path}" for name, zone in zones.items() for path in zone.unmatched),
        missing=tuple(f"{name}: {path}" for name, path in missing),
        seconds=time.perf_counter() - started,
        index_seconds=index_seconds,
    )


def connect_loader(settings: Settings) -> psycopg2.extensions.connection:
    connection = db.connect("loader", settings=settings, application_name="ecommerce-dw load")
    connection.notices = Notices()  # type: ignore[assignment]
    return connection


def _count(outcomes: Iterable[FileOutcome], *wanted: Outcome) -> int:
    return sum(outcome.outcome in wanted for outcome in outcomes)


def _by_entity(outcomes: Iterable[FileOutcome]) -> tuple[EntityLoad, ...]:
    groups: dict[tuple[str, str], list[FileOutcome]] = {}
    for outcome in outcomes:
        if outcome.outcome in ("loaded", "refused"):
            groups.setdefault((outcome.source, outcome.entity), []).append(outcome)
    return tuple(
        EntityLoad(
            source=source,
            entity=entity,
            files_loaded=_count(group, "loaded"),
            files_refused=_count(group, "refused"),
            rows_read=sum(outcome.rows_read for outcome in group if outcome.outcome == "loaded"),
            rows_loaded=sum(outcome.rows_loaded for outcome in group),
            rows_rejected=sum(outcome.rows_rejected for outcome in group if outcome.outcome == "loaded"),
        )
        for (source, entity), group in sorted(groups.items())
    )


def _classify(
    zones: Mapping[str, LandingZone],
    known: Mapping[str, Mapping[str, Known]],
    business_date: dt.date | None,
    *,
    verify: bool,
    only: set[str] | None,
    reload: Reload | None,
) -> tuple[list[LandedFile], list[FileOutcome]]:
    candidates: list[LandedFile] = []
    skipped: list[FileOutcome] = []
    for name, zone in zones.items():
        for file in zone.files:
            if business_date is not None and (file.business_date or business_date) > business_date:
                continue
            if only is not None and file.path not in only:
                continue
            entry = known[name].get(file.path)
            is_asked_for = verify or (reload is not None and reload.covers(file))
            if entry is None or is_asked_for or not is_settled(entry, file):
                candidates.append(file)
            else:
                skipped.append(outcome_of(file, "skipped"))
    return candidates, skipped


def _unreadable_entry(source: str, path: str, reason: str) -> FileOutcome:
    return FileOutcome(
        source, "", path, None, "unreadable", message=f"{path} could not be looked at: {reason}."
    )


def _missing(
    zones: Mapping[str, LandingZone], known: Mapping[str, Mapping[str, Known]]
) -> tuple[tuple[str, str], ...]:
    """Source and path of files whose rows are there and which are not."""
    found: list[tuple[str, str]] = []
    for name, zone in zones.items():
        # A folder that cannot be seen says nothing about its files.
        hidden = tuple(path.rstrip("/") + "/" for path, _ in zone.unreadable)
        present = {file.path for file in zone.files} | {path for path, _ in zone.unreadable}
        found += [
            (name, path)
            for path, entry in known[name].items()
            if path not in present and entry.live_file_id and not (hidden and path.startswith(hidden))
        ]
    return tuple(sorted(found))


def _sole_files(candidates: Sequence[LandedFile]) -> frozenset[str]:
    """Entities (as table names) of which one file alone is to be loaded."""
    counts: dict[str, int] = {}
    for file in candidates:
        counts[file.contract.table] = counts.get(file.contract.table, 0) + 1
    return frozenset(table for table, count in counts.items() if count == 1)


class _Loader:
    """Loads candidates with several connections side by side."""

    def __init__(self, context: RunContext, progress: Progress | None) -> None:
        self._context = context
        self._progress = progress
        self._local = threading.local()
        self._connections: list[psycopg2.extensions.connection] = []

    def run(self, candidates: Sequence[LandedFile], workers: int) -> list[FileOutcome]:
        """Load the files; one failing keeps none of the others from loading."""
        batches = _batches(candidates)
        total_bytes = sum(file.bytes for file in candidates)
        done_files = done_bytes = 0
        outcomes: list[FileOutcome] = []
        executor = ThreadPoolExecutor(max(1, min(workers, len(batches) or 1)), thread_name_prefix="load")
        try:
            futures: dict[Future[list[FileOutcome]], list[LandedFile]] = {
                # What the log lines are about goes with the work into its thread.
                executor.submit(copy_context().run, self._load_batch, batch): batch
                for batch in batches
            }
            for future in as_completed(futures):
                outcomes += future.result()
                done_files += len(futures[future])
                done_bytes += sum(file.bytes for file in futures[future])
                if self._progress:
                    last = futures[future][-1].path
                    self._progress(done_files, len(candidates), done_bytes, total_bytes, last)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            for connection in self._connections:
                connection.close()
        return outcomes

    # one batch ----------------------------------------------------------------------------------------

    def _connection(self) -> psycopg2.extensions.connection:
        connection: psycopg2.extensions.connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect_loader(self._context.settings)
            self._connections.append(connection)
        return connection

    def _load_batch(self, files: list[LandedFile], *, is_second_try: bool = False) -> list[FileOutcome]:
        connection = self._connection()
        started_at = dt.datetime.now(dt.UTC)
        try:
            return Batch(self._context, connection, files, started_at).load()
        except SplitBatch as split:
            connection.rollback()
            if split.bad is None:
                middle = len(files) // 2
                parts = [files[:middle], files[middle:]]
            else:
                bad = {file.path for file in split.bad}
                parts = [[f for f in files if f.path not in bad], *([f] for f in files if f.path in bad)]
            return [outcome for part in parts if part for outcome in self._load_batch(part)]
        except psycopg2.OperationalError as error:
            if connection.closed:
                raise
            connection.rollback()
            if (error.pgcode or "").startswith(_LIMIT_EXCEEDED):
                return self._failed(connection, files, error)
            is_deadlock = isinstance(error, psycopg2.extensions.TransactionRollbackError)
            if not is_deadlock or is_second_try:
                raise
            time.sleep(random.uniform(*_PAUSE))  # at once, both would meet again
            return self._load_batch(files, is_second_try=True)
        except (psycopg2.Error, UnreadableFileError, InconsistentLoadError) as error:
            connection.rollback()
            return self._failed(connection, files, error)

    def _failed(
        self, connection: psycopg2.extensions.connection, files: list[LandedFile], error: Exception
    ) -> list[FileOutcome]:
        """One of the files is at fault: find it, and load the others."""
        if len(files) > 1:
            middle = len(files) // 2
            return self._load_batch(files[:middle]) + self._load_batch(files[middle:])
        outcome: Outcome = "unreadable" if isinstance(error, UnreadableFileError) else "failed"
        failed = outcome_of(files[0], outcome, str(error).strip())
        with about_file(failed):
            logger.warning("%s: %s", failed.path, failed.message)
        record_attempts(connection, self._context.run_id, [failed])
        return [failed]


def _batches(candidates: Sequence[LandedFile]) -> list[list[LandedFile]]:
    """Groups of files for a transaction each: a large file alone, small ones of an entity together."""
    batches: list[list[LandedFile]] = []
    open_batches: dict[str, tuple[list[LandedFile], int]] = {}
    for file in candidates:
        if file.bytes > (_SMALL_GZIP_FILE if file.is_gzip else SMALL_FILE):
            batches.append([file])
            continue
        key = f"{file.contract.table} {file.is_gzip}"
        batch, size = open_batches.get(key, ([], 0))
        if not batch or len(batch) >= _BATCH_FILES or size + file.bytes > _BATCH_BYTES:
            batch, size = [], 0
            batches.append(batch)
        batch.append(file)
        open_batches[key] = (batch, size + file.bytes)
    return batches
