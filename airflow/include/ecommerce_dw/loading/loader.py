"""The loader: every landed file that is not loaded in its present form, once, whole or not at all."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2.extras import execute_values

from ecommerce_dw import db
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.loading import ddl, journal
from ecommerce_dw.loading.copy import Notices, copy_in
from ecommerce_dw.loading.discover import LandedFile, LandingZone, discover
from ecommerce_dw.loading.rejects import RejectedRecord, copy_sql, kept_keys, settle, store_rejects
from ecommerce_dw.loading.stream import (
    FileReader,
    Header,
    RecordStream,
    RefusedFileError,
    TooManyRejectsError,
    UnreadableFileError,
    fetch_records,
    hash_file,
    read_header,
)
from ecommerce_dw.settings import Settings

logger = logging.getLogger(__name__)

Outcome = Literal["loaded", "refused", "skipped", "unchanged", "set_aside", "unreadable", "failed"]

#: Files up to this size are loaded many to a transaction; the others have one of their own.
_SMALL_FILE = 256 << 10
_SMALL_GZIP_FILE = 32 << 10
_BATCH_FILES = 200
_BATCH_BYTES = 4 << 20
#: Rejected rows of a refused file that are kept for people to see.
KEPT_OF_REFUSED = 10_000
#: Bound of the notices of one COPY, unless a person accepted the file.
_MOST_NOTICES = 200_000
#: Rows from which it pays to look before deleting.
_MANY_ROWS = 20_000


@dataclass(frozen=True)
class FileOutcome:
    """What happened to one file.

    Attributes:
        outcome: `loaded`; `refused` (nothing of it is in the table); `skipped` (same path, size and time);
            `unchanged` (other time, same bytes); `set_aside` (a decision in the journal says so);
            `unreadable` and `failed` are tried again by the next run.
        rows_read, rows_loaded, rows_rejected: Records. Of a loaded file the first is the sum of the others.
        message: For people; None where all is well.
        index_seconds: Time spent on building the table's indexes with this file.
    """

    source: str
    entity: str
    path: str
    business_date: dt.date
    outcome: Outcome
    rows_read: int = 0
    rows_loaded: int = 0
    rows_rejected: int = 0
    bytes: int = 0
    message: str | None = None
    file_id: int | None = None
    index_seconds: float = 0.0


@dataclass(frozen=True)
class EntityLoad:
    """What one load did for one entity."""

    source: str
    entity: str
    files_loaded: int
    files_refused: int
    rows_read: int
    rows_loaded: int
    rows_rejected: int


@dataclass(frozen=True)
class LoadSummary:
    """What one load did.

    Attributes:
        business_date: Files with a later date stayed where they are; None where nothing has landed.
        files_loaded, files_skipped, files_refused, files_failed: Counts. Skipped are those in their present
            form in the ledger already; failed are those to be tried again by the next run.
        entities: Rows per entity, of what was loaded now.
        outcomes: Every file that was not skipped.
        unmatched: `source: path` of files that no contract's pattern names.
        missing: `source: path` of files in the ledger that are gone from the landing zone; their rows stay.
        seconds, index_seconds: Wall time of it all, and the part spent on building indexes at the end.
    """

    business_date: dt.date | None
    files_loaded: int
    files_skipped: int
    files_refused: int
    files_failed: int
    rows_read: int
    rows_loaded: int
    rows_rejected: int
    entities: tuple[EntityLoad, ...]
    outcomes: tuple[FileOutcome, ...]
    unmatched: tuple[str, ...]
    missing: tuple[str, ...]
    seconds: float
    index_seconds: float


@dataclass(frozen=True)
class Known:
    """What the ledger says about a path: its newest version, and the version whose rows are in the table."""

    file_id: int
    version: int
    entity: str
    business_date: dt.date | None
    status: str
    bytes: int
    modified_at: dt.datetime | None
    sha256: str
    contract_hash: str
    is_threshold_waived: bool
    live_file_id: int | None


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
    progress: Progress | None = None,
    contracts: Mapping[str, Mapping[str, Contract]] | None = None,
) -> LoadSummary:
    """Load every landed file, up to a business date, that is not loaded in its present form.

    Args:
        settings: Where the landing folders, the contracts and the warehouse are.
        source: Only this source's files.
        business_date: Files with a later date stay where they are. None: the greatest date that has landed.
        run_id: The run this belongs to, kept in the ledger.
        verify: Hash the files whose size and time are unchanged too.
        workers: Files loaded side by side; None: setting `load_workers`.
        paths: Only these files.
        progress: Called after each file or batch of files.
        contracts: By source and entity; None: those of the settings.

    Returns:
        What happened. A refused or unreadable file is part of it, not an error.

    Raises:
        ecommerce_dw.loading.ddl.ContractChangeError: A table cannot follow its contract.
        ecommerce_dw.db.LockHeldError: Transform or publish held the lock for too long.
        psycopg2.OperationalError: The warehouse does not answer.
    """
    started = time.perf_counter()
    contracts = contracts if contracts is not None else read_contracts(settings.contracts_dir)
    if source is not None:
        if source not in contracts:
            raise LookupError(
                f"No contracts for source {source!r}. There are: {', '.join(sorted(contracts))}."
            )
        contracts = {source: contracts[source]}
    zones = {name: discover(settings.landing(name), entities) for name, entities in contracts.items()}
    if business_date is None:
        dates = [file.business_date for zone in zones.values() for file in zone.files]
        business_date = max(dates, default=None)

    connection = _connect(settings)
    try:
        all_contracts = [contract for entities in contracts.values() for contract in entities.values()]
        ddl.ensure_tables(connection, all_contracts)
        ddl.ensure_indexes(connection, all_contracts)
        known = {name: read_known(connection, name) for name in contracts}
        only = set(paths) if paths is not None else None
        candidates, skipped = _classify(zones, known, business_date, verify=verify, only=only)
        unreadable = [
            _unreadable_entry(name, path, reason)
            for name, zone in zones.items()
            for path, reason in zone.unreadable
        ]
        _record_attempts(connection, run_id, [*skipped, *unreadable])
        decisions = journal.last_decisions(settings)
        loader = _Loader(settings, run_id, known, decisions, _sole_files(candidates), progress)
        outcomes = loader.run(candidates, workers or settings.load_workers)
        indexed = time.perf_counter()
        ddl.ensure_indexes(connection, all_contracts)
        index_seconds = time.perf_counter() - indexed + sum(outcome.index_seconds for outcome in outcomes)
    finally:
        connection.close()

    missing = () if only is not None else _missing(zones, known)
    for path in missing:
        logger.warning("%s is gone from the landing zone; its rows stay. `withdraw` takes them out.", path)
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
        missing=missing,
        seconds=time.perf_counter() - started,
        index_seconds=index_seconds,
    )


def _connect(settings: Settings) -> psycopg2.extensions.connection:
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


def read_known(
    connection: psycopg2.extensions.connection, source: str, paths: Sequence[str] | None = None
) -> dict[str, Known]:
    """What the ledger says about the paths of a source, by path. Leaves the transaction open."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select
                l.path, l.file_id, l.version, l.entity, l.business_date, l.status, l.bytes, l.modified_at,
                l.sha256, l.contract_hash, l.is_threshold_waived,
                case
                    when l.status = 'loaded' then l.file_id
                    when l.status <> 'withdrawn' then (
                        select case when earlier.status = 'loaded' then earlier.file_id end
                        from raw.load_ledger as earlier
                        where earlier.source = l.source and earlier.path = l.path
                            and earlier.status in ('loaded', 'withdrawn')
                        order by earlier.version desc
                        limit 1
                    )
                end as live_file_id
            from raw.load_ledger as l
            where l.source = %s and l.is_current and (%s::text[] is null or l.path = any(%s::text[]))
            """,
            (source, paths, paths),
        )
        return {row[0]: Known(*row[1:]) for row in cursor}


def _classify(
    zones: Mapping[str, LandingZone],
    known: Mapping[str, Mapping[str, Known]],
    business_date: dt.date | None,
    *,
    verify: bool,
    only: set[str] | None,
) -> tuple[list[LandedFile], list[FileOutcome]]:
    candidates: list[LandedFile] = []
    skipped: list[FileOutcome] = []
    for name, zone in zones.items():
        for file in zone.files:
            if business_date is not None and file.business_date > business_date:
                continue
            if only is not None and file.path not in only:
                continue
            entry = known[name].get(file.path)
            if entry is None or verify or not is_settled(entry, file):
                candidates.append(file)
            else:
                skipped.append(_outcome(file, "skipped"))
    return candidates, skipped


def is_settled(entry: Known, file: LandedFile) -> bool:
    """Whether the ledger has this file in its present form, as far as size and time tell."""
    return (entry.bytes, entry.modified_at) == (file.bytes, file.modified_at) and not _try_again(entry, file)


def _try_again(entry: Known, file: LandedFile) -> bool:
    """A refusal is looked at again under another contract, or when a person accepted the file."""
    return entry.status == "refused" and (
        entry.is_threshold_waived or entry.contract_hash != file.contract.hash
    )


def _outcome(file: LandedFile, outcome: Outcome, message: str | None = None) -> FileOutcome:
    return FileOutcome(
        source=file.contract.source,
        entity=file.contract.entity,
        path=file.path,
        business_date=file.business_date,
        outcome=outcome,
        bytes=file.bytes,
        message=message,
    )


def _unreadable_entry(source: str, path: str, reason: str) -> FileOutcome:
    return FileOutcome(
        source, "", path, dt.date.min, "unreadable", message=f"{path} could not be looked at: {reason}."
    )


def _missing(zones: Mapping[str, LandingZone], known: Mapping[str, Mapping[str, Known]]) -> tuple[str, ...]:
    found: list[str] = []
    for name, zone in zones.items():
        # A folder that cannot be seen says nothing about its files.
        hidden = tuple(path.rstrip("/") + "/" for path, _ in zone.unreadable)
        present = {file.path for file in zone.files} | {path for path, _ in zone.unreadable}
        found += [
            f"{name}: {path}"
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


def _record_attempts(
    connection: psycopg2.extensions.connection, run_id: str | None, outcomes: Sequence[FileOutcome]
) -> None:
    with connection, connection.cursor() as cursor:
        _insert_attempts(cursor, run_id, outcomes, dt.datetime.now(dt.UTC))


def _insert_attempts(
    cursor: psycopg2.extensions.cursor,
    run_id: str | None,
    outcomes: Sequence[FileOutcome],
    started_at: dt.datetime,
) -> None:
    if not outcomes:
        return
    execute_values(
        cursor,
        "insert into ops.load_attempts (run_id, source, entity, path, outcome, file_id, message, started_at, "
        "finished_at) values %s",
        [
            (run_id, o.source, o.entity or None, o.path, o.outcome, o.file_id, o.message, started_at)
            for o in outcomes
        ],
        template="(%s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp())",
        page_size=1000,
    )


def path_lock(source: str, path: str) -> int:
    """Key of the advisory lock under which a path is loaded or decided about."""
    digest = hashlib.sha256(f"{source}/{path}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


class _SplitBatch(Exception):
    """Something in a batch needs a transaction of its own."""

    def __init__(self, bad: Sequence[LandedFile] | None = None) -> None:
        super().__init__("the batch is split")
        self.bad = bad


@dataclass
class _Opened:
    """A file whose header was read and whose records are still to come."""

    file: LandedFile
    known: Known | None
    reader: FileReader
    header: Header | None
    content: Iterator[bytes]
    is_waived: bool
    refusal: str | None = None
    file_id: int = 0
    stream: RecordStream | None = None
    conversion_lines: list[int] = field(default_factory=list)
    rule_lines: list[int] = field(default_factory=list)
    duplicate_lines: dict[int, str] = field(default_factory=dict)
    status: str = "loaded"
    message: str | None = None
    index_seconds: float = 0.0

    @property
    def rejected(self) -> int:
        """Records that did not load."""
        assert self.stream is not None
        return (
            len(self.stream.bad_records)
            + len(self.conversion_lines)
            + len(self.rule_lines)
            + len(self.duplicate_lines)
        )


def _stream_of(entry: _Opened) -> RecordStream:
    assert entry.stream is not None
    return entry.stream


class _Loader:
    """Loads candidates with several connections side by side."""

    def __init__(
        self,
        settings: Settings,
        run_id: str | None,
        known: Mapping[str, Mapping[str, Known]],
        decisions: Mapping[tuple[str, str], journal.Decision],
        sole_tables: frozenset[str],
        progress: Progress | None,
    ) -> None:
        self._settings = settings
        self._run_id = run_id
        self._known = known
        self._decisions = decisions
        self._sole_tables = sole_tables
        self._progress = progress
        self._local = threading.local()
        self._connections: list[psycopg2.extensions.connection] = []
        self._indexed: set[str] = set()

    def run(self, candidates: Sequence[LandedFile], workers: int) -> list[FileOutcome]:
        """Load the files; one failing keeps none of the others from loading."""
        batches = _batches(candidates)
        total_bytes = sum(file.bytes for file in candidates)
        done_files = done_bytes = 0
        outcomes: list[FileOutcome] = []
        executor = ThreadPoolExecutor(max(1, min(workers, len(batches) or 1)), thread_name_prefix="load")
        try:
            futures: dict[Future[list[FileOutcome]], list[LandedFile]] = {
                executor.submit(self._load_batch, batch): batch for batch in batches
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
            connection = self._local.connection = _connect(self._settings)
            self._connections.append(connection)
        return connection

    def _load_batch(self, files: list[LandedFile]) -> list[FileOutcome]:
        connection = self._connection()
        started_at = dt.datetime.now(dt.UTC)
        try:
            return _Batch(self, connection, files, started_at).load()
        except _SplitBatch as split:
            connection.rollback()
            if split.bad is None:
                middle = len(files) // 2
                parts = [files[:middle], files[middle:]]
            else:
                bad = {file.path for file in split.bad}
                parts = [[f for f in files if f.path not in bad], *([f] for f in files if f.path in bad)]
            return [outcome for part in parts if part for outcome in self._load_batch(part)]
        except psycopg2.OperationalError:
            if connection.closed:
                raise
            connection.rollback()
            raise
        except (psycopg2.Error, UnreadableFileError, _InconsistentLoadError) as error:
            connection.rollback()
            if len(files) > 1:
                middle = len(files) // 2
                return self._load_batch(files[:middle]) + self._load_batch(files[middle:])
            outcome: Outcome = "unreadable" if isinstance(error, UnreadableFileError) else "failed"
            failed = _outcome(files[0], outcome, str(error).strip())
            logger.warning("%s: %s", files[0].path, failed.message)
            _record_attempts(connection, self._run_id, [failed])
            return [failed]


class _InconsistentLoadError(RuntimeError):
    """The numbers of a load do not add up (law 1); nothing of it was kept."""


class _Batch:
    """One transaction: the files of one entity, all of them or none."""

    def __init__(
        self,
        loader: _Loader,
        connection: psycopg2.extensions.connection,
        files: Sequence[LandedFile],
        started_at: dt.datetime,
    ) -> None:
        self._loader = loader
        self._settings = loader._settings
        self._connection = connection
        self._notices: Notices = connection.notices  # type: ignore[assignment]
        self._files = files
        self._contract = files[0].contract
        self._table = ddl.qualified(self._contract)
        self._started_at = started_at
        self._is_alone = len(files) == 1
        self._removed_days: set[dt.date] = set()

    def load(self) -> list[FileOutcome]:
        with self._connection.cursor() as cursor:
            self._begin(cursor)
            opened, outcomes = self._open(cursor)
            try:
                if opened:
                    self._copy(cursor, opened)
                    outcomes += self._finish(cursor, opened)
                else:
                    _insert_attempts(cursor, self._loader._run_id, outcomes, self._started_at)
                    self._connection.commit()
            finally:
                for entry in opened:
                    entry.reader.close()
        for outcome in outcomes:
            if outcome.message:
                logger.warning("%s: %s", outcome.path, outcome.message)
        return outcomes

    def _begin(self, cursor: psycopg2.extensions.cursor) -> None:
        locks = sorted(path_lock(file.contract.source, file.path) for file in self._files)
        cursor.execute(
            "select set_config('timezone', %s, true), set_config('datestyle', 'ISO, YMD', true);"
            "select pg_advisory_xact_lock(key) from unnest(%s::bigint[]) with ordinality as k (key, n)",
            (self._contract.time_zone, locks),
        )

    def _open(self, cursor: psycopg2.extensions.cursor) -> tuple[list[_Opened], list[FileOutcome]]:
        # Another loader may have been quicker: what the ledger says now is what counts.
        known = read_known(self._connection, self._contract.source, [file.path for file in self._files])
        opened: list[_Opened] = []
        outcomes: list[FileOutcome] = []
        unreadable: list[LandedFile] = []
        for file in self._files:
            entry = known.get(file.path)
            before = self._loader._known[self._contract.source].get(file.path)
            if entry and (before is None or entry.file_id != before.file_id) and is_settled(entry, file):
                outcomes.append(_outcome(file, "skipped", None))
                continue
            try:
                found = self._open_one(cursor, file, entry)
            except UnreadableFileError:
                if self._is_alone:
                    raise
                unreadable.append(file)
                continue
            if isinstance(found, _Opened):
                opened.append(found)
            else:
                outcomes.append(found)
        if unreadable:
            for entry_ in opened:
                entry_.reader.close()
            raise _SplitBatch(unreadable)
        return opened, outcomes

    def _open_one(
        self, cursor: psycopg2.extensions.cursor, file: LandedFile, entry: Known | None
    ) -> _Opened | FileOutcome:
        is_waived = entry is not None and entry.status == "refused" and entry.is_threshold_waived
        decision = self._loader._decisions.get((self._contract.source, file.path)) if entry is None else None
        if entry is not None and entry.bytes == file.bytes and not _try_again(entry, file):
            digest = hash_file(file.full_path)
            if digest == entry.sha256:
                if entry.modified_at != file.modified_at:
                    cursor.execute(
                        "update raw.load_ledger set modified_at = %s where file_id = %s",
                        (file.modified_at, entry.file_id),
                    )
                return replace(_outcome(file, "unchanged"), file_id=entry.file_id)
        if decision is not None and decision.sha256 == hash_file(file.full_path):
            if decision.decision in ("discard", "withdraw"):
                return self._set_aside(cursor, file, decision)
            is_waived = decision.decision == "accept"
        if entry is not None and (self._contract.source, file.path) in self._loader._decisions:
            is_decided = entry.status in ("discarded", "withdrawn") or (
                entry.status == "loaded" and entry.is_threshold_waived
            )
            if is_decided:  # a return to the decided bytes is then a new version like any other
                journal.append(
                    self._settings, "superseded", self._contract.source, file.path, "", reason="other bytes"
                )
        reader = FileReader(file.full_path, is_gzip=file.is_gzip)
        pieces = reader.pieces()
        start = b""
        is_whole = True
        for piece in pieces:
            start += piece
            if len(start) >= 1 << 16:
                is_whole = False
                break
        header: Header | None = None
        refusal: str | None = None
        try:
            header = read_header(start, self._contract, is_whole_file=is_whole)
        except RefusedFileError as error:
            refusal = str(error)
        content: Iterator[bytes] = itertools.chain([start[header.length :]] if header else [], pieces)
        return _Opened(file, entry, reader, header, content, is_waived, refusal)

    def _set_aside(
        self, cursor: psycopg2.extensions.cursor, file: LandedFile, decision: journal.Decision
    ) -> FileOutcome:
        status = "discarded" if decision.decision == "discard" else "withdrawn"
        message = f"Set aside until other bytes come: {decision.decision} of {decision.at}."
        cursor.execute(
            """
            insert into raw.load_ledger (
                source, entity, business_date, path, part, version, contract_hash, sha256, bytes, modified_at,
                status, run_id, started_at, finished_at, message
            )
            values (%s, %s, %s, %s, %s, 1, %s, %s, %s, %s, %s, %s, %s, clock_timestamp(), %s)
            returning file_id
            """,
            (
                *(self._contract.source, self._contract.entity, file.business_date, file.path, file.part),
                *(self._contract.hash, decision.sha256, file.bytes, file.modified_at),
                *(status, self._loader._run_id, self._started_at, message),
            ),
        )
        return replace(_outcome(file, "set_aside", message), file_id=_one(cursor))

    # rows in ------------------------------------------------------------------------------------------

    def _copy(self, cursor: psycopg2.extensions.cursor, opened: Sequence[_Opened]) -> None:
        cursor.execute(
            "select nextval(pg_get_serial_sequence('raw.load_ledger', 'file_id')) "
            "from generate_series(1, %s)",
            (len(opened),),
        )
        for entry, (file_id,) in zip(opened, cursor.fetchall(), strict=True):
            entry.file_id = file_id
        for entry in opened:
            if entry.refusal is not None:
                self._refuse(entry, entry.refusal)
        loadable = [entry for entry in opened if entry.header is not None]
        if not loadable:
            return
        if not self._is_alone:
            self._copy_into(cursor, loadable, self._table, is_careful=False)
            refused = [entry.file for entry in loadable if self._is_over_threshold(entry)]
            if refused:
                raise _SplitBatch(refused)
            return
        self._copy_alone(cursor, loadable[0])

    def _copy_alone(self, cursor: psycopg2.extensions.cursor, entry: _Opened) -> None:
        """Load one file, each time with more care, until it is loaded or known to be refused."""
        cursor.execute("savepoint before_copy")
        is_careful = is_staged = False
        while True:
            try:
                if is_staged:
                    self._copy_staged(cursor, entry, is_careful=is_careful)
                else:
                    self._copy_into(cursor, [entry], self._table, is_careful=is_careful)
                break
            except psycopg2.errors.BadCopyFileFormat as error:
                cursor.execute("rollback to savepoint before_copy")
                if is_careful:
                    self._refuse(entry, f"The server cannot read it: {str(error).strip()}")
                    return
                is_careful = True  # a record that only added up with others is found one by one
            except psycopg2.errors.UniqueViolation:
                cursor.execute("rollback to savepoint before_copy")
                if is_staged:
                    raise
                is_staged = True  # a key is there twice in the file: sorted out before it reaches the table
            except (psycopg2.DataError, TooManyRejectsError) as error:
                cursor.execute("rollback to savepoint before_copy")
                if isinstance(error, psycopg2.DataError) and "REJECT_LIMIT" not in str(error):
                    self._refuse(entry, f"The server cannot read it: {str(error).strip()}")
                    return
                self._note_conversions(cursor, [entry])
                self._refuse(entry, "far more rows fail than the contract allows; the rest was not looked at")
                return
            self._reopen(entry)
        if self._is_over_threshold(entry):
            cursor.execute("rollback to savepoint before_copy")
            self._refuse(entry, self._threshold_message(entry))
        else:
            cursor.execute("release savepoint before_copy")

    def _reopen(self, entry: _Opened) -> None:
        assert entry.header is not None
        entry.reader.close()
        entry.reader = FileReader(entry.file.full_path, is_gzip=entry.file.is_gzip)
        entry.content = _after(entry.reader.pieces(), entry.header.length)
        entry.conversion_lines, entry.rule_lines, entry.duplicate_lines = [], [], {}

    def _refuse(self, entry: _Opened, message: str) -> None:
        entry.status, entry.message = "refused", message

    def _is_over_threshold(self, entry: _Opened) -> bool:
        assert entry.stream is not None
        rejected = entry.rejected
        return (
            not entry.is_waived
            and rejected > self._contract.max_rejected_rows
            and rejected > self._contract.max_rejected_share * entry.stream.records
        )

    def _threshold_message(self, entry: _Opened) -> str:
        assert entry.stream is not None
        share = entry.rejected / max(entry.stream.records, 1)
        return (
            f"{entry.rejected:,} of {entry.stream.records:,} rows fail ({share:.1%}); the contract allows "
            f"{self._contract.max_rejected_rows:,} rows and {float(self._contract.max_rejected_share):.1%}. "
            "Nothing of it was loaded. `ecommerce-dw rejects list` shows why; then deliver it again, or "
            f"`ecommerce-dw accept {entry.file.path}`, or `ecommerce-dw discard {entry.file.path}`."
        )

    def _copy_into(
        self, cursor: psycopg2.extensions.cursor, opened: Sequence[_Opened], table: str, *, is_careful: bool
    ) -> None:
        start_block, is_indexed = self._table_state(cursor, table)
        groups: dict[tuple[str, ...], list[_Opened]] = {}
        for entry in opened:
            assert entry.header is not None
            groups.setdefault(entry.header.columns, []).append(entry)
        for columns, group in groups.items():
            self._copy_group(cursor, columns, group, table, is_careful=is_careful)
        rows = {
            e.file_id: e.stream.records - len(e.stream.bad_records) - len(e.conversion_lines)
            for e in opened
            if e.stream is not None
        }
        by_id = {entry.file_id: entry for entry in opened}
        self._move_out_broken(cursor, table, by_id, rows, start_block if not is_indexed else None)
        keys = ddl.keys_within_file(self._contract)
        if keys and not is_indexed and not self._index_now(cursor, opened, table):
            for key in keys:
                self._move_out_duplicates(cursor, table, key, by_id, is_many=sum(rows.values()) > _MANY_ROWS)

    def _table_state(self, cursor: psycopg2.extensions.cursor, table: str) -> tuple[int, bool]:
        if table != self._table:
            return 0, False
        if self._contract.table in self._loader._indexed:
            return 0, True
        cursor.execute(
            "select pg_relation_size(%s::regclass) / current_setting('block_size')::bigint", (table,)
        )
        start_block = _one(cursor)
        is_indexed = ddl.has_indexes(cursor, self._contract)
        if is_indexed:
            self._loader._indexed.add(self._contract.table)
        return start_block, is_indexed

    def _copy_group(
        self,
        cursor: psycopg2.extensions.cursor,
        columns: tuple[str, ...],
        opened: Sequence[_Opened],
        table: str,
        *,
        is_careful: bool,
    ) -> None:
        for entry in opened:
            assert entry.header is not None
            entry.stream = RecordStream(
                self._contract, entry.header, entry.file_id, is_careful, may_keep_all=entry.is_waived
            )
        self._notices.clear()
        limit = self._reject_limit(opened)
        names = ", ".join([ddl.FILE_ID, ddl.LINE_NUMBER, *map(ddl.quote_name, columns)])
        options = ", on_error ignore, log_verbosity verbose" + (f", reject_limit {limit}" if limit else "")
        copied = copy_in(
            cursor,
            copy_sql(self._contract, table, names, options=options),
            _all_lines(opened),
            in_thread=sum(entry.file.bytes for entry in opened) > 2 * _SMALL_FILE,
        )
        self._note_conversions(cursor, opened)
        expected = sum(
            e.stream.records - len(e.stream.bad_records) - len(e.conversion_lines)
            for e in opened
            if e.stream is not None
        )
        if copied != expected:
            raise _InconsistentLoadError(
                f"{opened[0].file.path}: the server took {copied:,} rows where {expected:,} were expected. "
                "Nothing was kept; the next run tries again. Please report this with the file."
            )

    def _reject_limit(self, opened: Sequence[_Opened]) -> int | None:
        if any(entry.is_waived for entry in opened):
            return None
        # A record has at least its separators and a line end; a compressed file may hold any number.
        size = sum(entry.file.bytes for entry in opened) * (1000 if opened[0].file.is_gzip else 1)
        most = int(self._contract.max_rejected_share * size / max(len(self._contract.columns), 1))
        allowed = max(self._contract.max_rejected_rows, min(most, _MOST_NOTICES)) + 1
        return max(allowed, KEPT_OF_REFUSED)

    def _note_conversions(self, cursor: psycopg2.extensions.cursor, opened: Sequence[_Opened]) -> None:
        cursor.execute("select")  # the server's notices come with the command after
        lines = sorted(set(self._notices.lines))
        self._notices.clear()
        start = 0
        streams = iter(opened)
        entry = next(streams)
        for line in lines:
            stream = _stream_of(entry)
            while line > start + stream.lines_out:
                start += stream.lines_out
                entry = next(streams)
                stream = _stream_of(entry)
            entry.conversion_lines.append(stream.line_in_file(line - start))

    def _move_out_broken(
        self,
        cursor: psycopg2.extensions.cursor,
        table: str,
        by_id: Mapping[int, _Opened],
        rows: Mapping[int, int],
        start_block: int | None,
    ) -> None:
        """Take rows that break a rule out of the table."""
        condition, total = "_file_id = any(%(ids)s)", sum(rows.values())
        if start_block:  # without an index: new rows usually lie behind the old ones
            condition += f" and ctid >= '({start_block},0)'::tid"
        parameters = {"ids": list(rows)}
        if total > _MANY_ROWS:
            cursor.execute(
                f"select count(*), count(_reject_reason) from {table} where {condition}", parameters
            )
            found, broken = _row(cursor)
            if found != total:
                condition = "_file_id = any(%(ids)s)"
                broken = 1
            if not broken:
                return
        elif start_block:
            condition = "_file_id = any(%(ids)s)"
        cursor.execute(
            f"delete from {table} where {condition} and _reject_reason is not null "
            "returning _file_id, _line_number",
            parameters,
        )
        for file_id, line in cursor:
            by_id[file_id].rule_lines.append(line)

    def _index_now(self, cursor: psycopg2.extensions.cursor, opened: Sequence[_Opened], table: str) -> bool:
        """Build the indexes with the only large file of an entity: the unique one proves its keys."""
        if not (
            self._is_alone
            and table == self._table
            and self._contract.table in self._loader._sole_tables
            and opened[0].file.bytes > _SMALL_FILE
        ):
            return False
        cursor.execute("select pg_try_advisory_xact_lock(%s)", (ddl.DDL_LOCK,))
        if not _one(cursor):
            return False
        started = time.perf_counter()
        cursor.execute("savepoint before_indexes")
        try:
            ddl.make_indexes(cursor, self._contract)
        except psycopg2.errors.UniqueViolation:
            cursor.execute("rollback to savepoint before_indexes")
            return False
        cursor.execute("release savepoint before_indexes")
        opened[0].index_seconds = time.perf_counter() - started
        return True

    def _move_out_duplicates(
        self,
        cursor: psycopg2.extensions.cursor,
        table: str,
        key: tuple[str, ...],
        by_id: Mapping[int, _Opened],
        *,
        is_many: bool,
    ) -> None:
        """Of equal keys in one file the last line stays; the earlier ones are taken out."""
        names = ", ".join(ddl.quote_name(name) for name in key)
        present = " and ".join(f"{ddl.quote_name(name)} is not null" for name in key)
        ids = list(by_id)
        cursor.execute("select set_config('work_mem', '128MB', true)")
        if is_many:
            cursor.execute(
                f"select exists (select from {table} where _file_id = any(%s) and {present} "
                f"group by _file_id, {names} having count(*) > 1)",
                (ids,),
            )
            if not _one(cursor):
                return
        cursor.execute(
            f"""
            with ranked as (
                select ctid, _line_number,
                    max(_line_number) over (partition by _file_id, {names}) as last_line
                from {table}
                where _file_id = any(%s) and {present}
            )
            delete from {table} as t
            using ranked
            where t.ctid = ranked.ctid and ranked._line_number < ranked.last_line
            returning t._file_id, t._line_number, ranked.last_line
            """,
            (ids,),
        )
        for file_id, line, last_line in cursor:
            by_id[file_id].duplicate_lines[line] = (
                f"{', '.join(key)}: the key stands again on line {last_line}; the last line of a key stays"
            )

    def _copy_staged(self, cursor: psycopg2.extensions.cursor, entry: _Opened, *, is_careful: bool) -> None:
        staged = "pg_temp.staged_file"
        cursor.execute(ddl.create_table_sql(self._contract, table="staged_file", temporary=True))
        self._copy_into(cursor, [entry], staged, is_careful=is_careful)
        columns = ", ".join(
            [ddl.FILE_ID, ddl.LINE_NUMBER, *(ddl.quote_name(c.name) for c in self._contract.columns)]
        )
        cursor.execute(f"insert into {self._table} ({columns}) select {columns} from {staged}")

    # what is left to write ----------------------------------------------------------------------------

    def _finish(self, cursor: psycopg2.extensions.cursor, opened: Sequence[_Opened]) -> list[FileOutcome]:
        outcomes = [self._file_outcome(entry) for entry in opened]
        self._write_ledger(cursor, opened, outcomes)
        self._write_rejects(cursor, opened)
        loaded = [entry for entry in opened if entry.status == "loaded"]
        has_removed = take_out(
            cursor,
            self._contract,
            {
                entry.known.live_file_id: entry.file_id
                for entry in loaded
                if entry.known and entry.known.live_file_id
            },
            superseded={entry.known.file_id for entry in opened if entry.known and entry.status == "loaded"},
        )
        if loaded:
            days = {entry.file.business_date for entry in loaded}
            has_removed |= settle_days(cursor, self._contract, days, loaded[0].file_id)
        _insert_attempts(cursor, self._loader._run_id, outcomes, self._started_at)
        commit_with_load_ids(
            cursor, self._settings, [entry.file_id for entry in loaded], has_removed=has_removed
        )
        return outcomes

    def _file_outcome(self, entry: _Opened) -> FileOutcome:
        read = entry.stream.records if entry.stream else 0
        rejected = entry.rejected if entry.stream else 0
        is_loaded = entry.status == "loaded"
        message = entry.message
        if is_loaded and rejected:
            message = (
                f"{rejected:,} of {read:,} rows were rejected; "
                f"`ecommerce-dw rejects export {entry.file.path}` gives them for correction."
            )
        return FileOutcome(
            source=self._contract.source,
            entity=self._contract.entity,
            path=entry.file.path,
            business_date=entry.file.business_date,
            outcome="loaded" if is_loaded else "refused",
            rows_read=read,
            rows_loaded=read - rejected if is_loaded else 0,
            rows_rejected=rejected,
            bytes=entry.reader.bytes,
            message=message,
            file_id=entry.file_id,
            index_seconds=entry.index_seconds,
        )

    def _write_ledger(
        self,
        cursor: psycopg2.extensions.cursor,
        opened: Sequence[_Opened],
        outcomes: Sequence[FileOutcome],
    ) -> None:
        earlier = [entry.known.file_id for entry in opened if entry.known]
        if earlier:
            cursor.execute(
                "update raw.load_ledger set is_current = false where file_id = any(%s)", (earlier,)
            )
        rows: list[tuple[Any, ...]] = []
        for entry, outcome in zip(opened, outcomes, strict=True):
            for _ in entry.content if entry.status == "refused" else ():
                pass  # the digest is over the whole file
            rows.append(
                (
                    *(entry.file_id, self._contract.source, self._contract.entity),
                    *(entry.file.business_date, entry.file.path, entry.file.part),
                    entry.known.version + 1 if entry.known else 1,
                    *(self._contract.hash, entry.reader.sha256, entry.reader.bytes, entry.reader.modified_at),
                    entry.header.raw if entry.header else None,
                    *(outcome.rows_read, outcome.rows_loaded, outcome.rows_rejected, entry.status),
                    entry.is_waived and entry.status == "loaded",
                    *(self._loader._run_id, self._started_at, outcome.message),
                )
            )
        execute_values(
            cursor,
            """
            insert into raw.load_ledger (
                file_id, source, entity, business_date, path, part, version, contract_hash, sha256, bytes,
                modified_at, header, rows_read, rows_loaded, rows_rejected, status, is_threshold_waived,
                run_id, started_at, message, finished_at
            )
            overriding system value values %s
            """,
            rows,
            template="(" + ", ".join(["%s"] * 20) + ", clock_timestamp())",
            page_size=1000,
        )

    def _write_rejects(self, cursor: psycopg2.extensions.cursor, opened: Sequence[_Opened]) -> None:
        if any(entry.stream and entry.rejected for entry in opened):
            store_rejects(cursor, self._contract, _rejected_records(opened))


def _after(pieces: Iterator[bytes], length: int) -> Iterator[bytes]:
    """The pieces without their first `length` bytes."""
    for piece in pieces:
        if length >= len(piece):
            length -= len(piece)
            continue
        yield piece[length:] if length else piece
        length = 0


def _all_lines(opened: Iterable[_Opened]) -> Iterator[bytes]:
    for entry in opened:
        assert entry.stream is not None
        yield from entry.stream.lines(entry.content)


def _rejected_records(opened: Iterable[_Opened]) -> Iterator[RejectedRecord]:
    for entry in opened:
        if entry.stream is None or entry.header is None:
            continue
        limit = KEPT_OF_REFUSED if entry.status == "refused" else None
        bad = {record.line: record for record in entry.stream.bad_records}
        lines = sorted({*bad, *entry.conversion_lines, *entry.rule_lines, *entry.duplicate_lines})[:limit]
        wanted = [line for line in lines if line not in bad]
        for line in lines:
            if line in bad:
                yield RejectedRecord(entry.file_id, line, bad[line].raw, bad[line].reasons, entry.header)
        for line, raw in fetch_records(
            entry.file.full_path, is_gzip=entry.file.is_gzip, stream=entry.stream, wanted=wanted
        ):
            reason = entry.duplicate_lines.get(line)
            yield RejectedRecord(entry.file_id, line, raw, (reason,) if reason else (), entry.header)


def _one(cursor: psycopg2.extensions.cursor) -> Any:
    return _row(cursor)[0]


def _row(cursor: psycopg2.extensions.cursor) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = cursor.fetchone()
    if row is None:
        raise LookupError("The server answered with no row where one was expected.")
    return row


def _batches(candidates: Sequence[LandedFile]) -> list[list[LandedFile]]:
    """Groups of files for a transaction each: a large file alone, small ones of an entity together."""
    batches: list[list[LandedFile]] = []
    open_batches: dict[str, tuple[list[LandedFile], int]] = {}
    for file in candidates:
        if file.bytes > (_SMALL_GZIP_FILE if file.is_gzip else _SMALL_FILE):
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


def take_out(
    cursor: psycopg2.extensions.cursor,
    contract: Contract,
    replaced: Mapping[int, int],
    *,
    superseded: Iterable[int] = (),
) -> bool:
    """Take the rows of files out of their table, in the transaction of what replaces them.

    The keys of those rows, and of their rejected rows, wait in a temporary table for the load id.

    Args:
        replaced: File whose rows go → file whose load id stands for it.
        superseded: Versions, refused ones too, whose rejected rows are settled by the new one.

    Returns:
        Whether keys wait.
    """
    settled = {*replaced, *superseded}
    if not settled:
        return False
    _waiting_keys_table(cursor)
    keys = kept_keys(contract)
    pairs = ", ".join(f"{ddl.quote_text(name)}, {ddl.quote_name(name)}::text" for name in keys)
    if replaced:
        execute_values(
            cursor,
            f"""
            with replaced (old_id, new_id) as (values %s),
            gone as (
                delete from {ddl.qualified(contract)} as t
                using replaced
                where t._file_id = replaced.old_id
                returning replaced.new_id, jsonb_strip_nulls(jsonb_build_object({pairs})) as keys
            ),
            were_rejected as (
                select replaced.new_id, r.keys
                from replaced join raw.rejected_rows as r on r.file_id = replaced.old_id
            )
            insert into pg_temp.waiting_keys (file_id, source, entity, keys)
            select distinct new_id, {ddl.quote_text(contract.source)}, {ddl.quote_text(contract.entity)}, keys
            from (select * from gone union all select * from were_rejected) as touched
            where keys <> '{{}}'
            """,
            list(replaced.items()),
            template="(%s::bigint, %s::bigint)",
            page_size=1000,
        )
    cursor.execute(
        "update raw.rejected_rows set resolved_by = path where file_id = any(%s)", (sorted(settled),)
    )
    return bool(replaced)


def settle_days(
    cursor: psycopg2.extensions.cursor, contract: Contract, days: Iterable[dt.date], file_id: int
) -> bool:
    """Work out what is settled on these days; the keys concerned wait for the load id of `file_id`."""
    changed = list(settle(cursor, contract, days))
    if not changed:
        return False
    _waiting_keys_table(cursor)
    execute_values(
        cursor,
        "insert into pg_temp.waiting_keys (file_id, source, entity, keys) values %s",
        [(file_id, contract.source, contract.entity, psycopg2.extras.Json(keys)) for keys in changed if keys],
    ) if any(changed) else None
    return True


def _waiting_keys_table(cursor: psycopg2.extensions.cursor) -> None:
    cursor.execute(
        "create temporary table if not exists waiting_keys (file_id bigint, source text, entity text, "
        "keys jsonb) on commit delete rows"
    )


def commit_with_load_ids(
    cursor: psycopg2.extensions.cursor,
    settings: Settings,
    file_ids: Sequence[int],
    *,
    has_removed: bool,
) -> None:
    """Give the files their load ids, as the last statement under the lock, and commit.

    Raises:
        ecommerce_dw.db.LockHeldError: Transform or publish did not let go of its lock in time.
    """
    connection = cursor.connection
    if not file_ids:
        connection.commit()
        return
    try:
        cursor.execute(
            "select set_config('lock_timeout', %s, true); select pg_advisory_xact_lock_shared(%s);"
            "select set_config('lock_timeout', '0', true)",
            (f"{int(settings.lock_wait_seconds * 1000)}ms", db.TRANSFORM_LOCK),
        )
    except psycopg2.errors.LockNotAvailable:
        connection.rollback()
        raise db.LockHeldError(db._describe_holders(cursor, settings)) from None
    cursor.execute("select pg_advisory_xact_lock(%s)", (db.LOAD_ID_LOCK,))
    removed = (
        "insert into raw.removed_keys (load_id, source, entity, keys) "
        "select numbered.load_id, w.source, w.entity, w.keys "
        "from numbered join pg_temp.waiting_keys as w using (file_id)"
        if has_removed
        else "select 1"
    )
    cursor.execute(
        f"""
        with numbered as (
            update raw.load_ledger as l
            set load_id = drawn.load_id
            from (
                select file_id, nextval('raw.load_id_seq') as load_id
                from (select unnest(%s::bigint[]) as file_id order by 1) as ordered
            ) as drawn
            where l.file_id = drawn.file_id
            returning l.file_id, l.load_id
        )
        {removed}
        """,
        (list(file_ids),),
    )
    connection.commit()


def landing_path(settings: Settings, source: str, path: Path | str) -> str:
    """A path as the ledger has it: relative to the source's landing folder."""
    given = Path(path)
    landing = settings.landing(source)
    if given.is_absolute():
        return given.resolve().relative_to(landing).as_posix()
    return given.as_posix()
