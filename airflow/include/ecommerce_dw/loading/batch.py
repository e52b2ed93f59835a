"""One transaction of the loader: the files of one entity, all of them or none."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2.extras import execute_values

from ecommerce_dw import db
from ecommerce_dw.loading import ddl, erasure, journal
from ecommerce_dw.loading.copy import Notices, copy_in
from ecommerce_dw.loading.discover import LandedFile
from ecommerce_dw.loading.landing import UnreadableFileError
from ecommerce_dw.loading.ledger import (
    Known,
    commit_with_load_ids,
    has_form_of,
    insert_attempts,
    is_settled,
    is_to_be_tried_again,
    one_row,
    one_value,
    path_lock,
    read_known,
    settle_days,
    take_out,
)
from ecommerce_dw.loading.outcome import FileOutcome, about_file, outcome_of
from ecommerce_dw.loading.rejects import RejectedRecord, copy_sql, store_rejects
from ecommerce_dw.loading.reload import Reload
from ecommerce_dw.loading.stream import (
    FileReader,
    Header,
    RecordStream,
    RefusedFileError,
    TooManyRejectsError,
    fetch_records,
    hash_file,
    read_header,
)
from ecommerce_dw.settings import Settings

logger = logging.getLogger(__name__)

#: Files up to this size are loaded many to a transaction; the others have one of their own.
SMALL_FILE = 256 << 10


#: Rejected rows of a refused file that are kept for people to see.
KEPT_OF_REFUSED = 10_000
#: Bound of the notices of one COPY, unless a person accepted the file.
_MOST_NOTICES = 200_000
#: Rows from which it pays to look before deleting.
_MANY_ROWS = 20_000
#: Finds the rows of files wherever they lie.
_OF_FILES = "_file_id = any(%(ids)s)"
#: Pages before a table's end that may have room for new rows: the last one, and those another load added.
_RECENT_BLOCKS = 2_000


class SplitBatch(Exception):
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


class InconsistentLoadError(RuntimeError):
    """The numbers of a load do not add up (law 1); nothing of it was kept."""


@dataclass(frozen=True)
class RunContext:
    """What all batches of one load share.

    Attributes:
        known: What the ledger said when the load began, by source and path.
        decisions: People's decisions that hold for files the ledger does not know.
        sole_tables: Tables for which one file alone is to be loaded.
        reload: Files that are loaded again although their bytes are those that are loaded.
        indexed: Tables that are known to have their indexes; grows.
    """

    settings: Settings
    run_id: str | None
    known: Mapping[str, Mapping[str, Known]]
    decisions: Mapping[tuple[str, str], journal.Decision]
    sole_tables: frozenset[str]
    reload: Reload | None = None
    indexed: set[str] = field(default_factory=set)


class Batch:
    """One transaction: the files of one entity, all of them or none."""

    def __init__(
        self,
        context: RunContext,
        connection: psycopg2.extensions.connection,
        files: Sequence[LandedFile],
        started_at: dt.datetime,
    ) -> None:
        self._context = context
        self._connection = connection
        self._notices: Notices = connection.notices  # type: ignore[assignment]
        self._files = files
        self._contract = files[0].contract
        self._table = ddl.qualified(self._contract)
        self._started_at = started_at
        self._is_alone = len(files) == 1
        #: The condition that finds the files' rows, with `%(ids)s` for their ids.
        self._among = _OF_FILES

    def load(self) -> list[FileOutcome]:
        """Load the files and commit.

        Raises:
            SplitBatch: Some of them need a transaction of their own; nothing was kept.
            UnreadableFileError: The only file cannot be read.
            psycopg2.Error: The server could not do it.
        """
        with self._connection.cursor() as cursor:
            self._begin(cursor)
            opened, outcomes = self._open(cursor)
            try:
                if opened:
                    self._copy(cursor, opened)
                    outcomes += self._finish(cursor, opened, outcomes)
                else:
                    insert_attempts(cursor, self._context.run_id, outcomes, self._started_at)
                    self._connection.commit()
            finally:
                for entry in opened:
                    entry.reader.close()
        for outcome in outcomes:
            with about_file(outcome):
                if outcome.message:
                    logger.warning("%s: %s", outcome.path, outcome.message)
                else:
                    logger.info(
                        "%s: %s, %d rows loaded, %d rejected",
                        *(outcome.path, outcome.outcome, outcome.rows_loaded, outcome.rows_rejected),
                    )
        return outcomes

    def _begin(self, cursor: psycopg2.extensions.cursor) -> None:
        locks = [path_lock(file.contract.source, file.path) for file in self._files]
        others = " or another of its batch" if len(locks) > 1 else ""
        db.advisory_locks(
            cursor, [db.ERASURE_LOCK], "lock of an erasure", self._context.settings, is_shared=True
        )
        db.advisory_locks(cursor, locks, f"file {self._files[0].path}{others}", self._context.settings)
        cursor.execute(
            "select set_config('timezone', %s, true), set_config('datestyle', 'ISO, YMD', true)",
            (self._contract.time_zone,),
        )

    def _open(self, cursor: psycopg2.extensions.cursor) -> tuple[list[_Opened], list[FileOutcome]]:
        # Another loader may have been quicker: what the ledger says now is what counts.
        known = read_known(self._connection, self._contract.source, [file.path for file in self._files])
        opened: list[_Opened] = []
        outcomes: list[FileOutcome] = []
        unreadable: list[LandedFile] = []
        for file in self._files:
            entry = known.get(file.path)
            before = self._context.known[self._contract.source].get(file.path)
            if entry and (before is None or entry.file_id != before.file_id) and is_settled(entry, file):
                outcomes.append(outcome_of(file, "skipped", None))
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
            raise SplitBatch(unreadable)
        return opened, outcomes

    def _open_one(
        self, cursor: psycopg2.extensions.cursor, file: LandedFile, entry: Known | None
    ) -> _Opened | FileOutcome:
        is_waived = entry is not None and entry.status == "refused" and entry.is_threshold_waived
        held = self._context.decisions.get((self._contract.source, file.path))
        decision = held if entry is None else None
        is_reloaded = False
        if entry is not None and entry.bytes == file.bytes and not is_to_be_tried_again(entry, file):
            digest = hash_file(file.location)
            if digest == entry.sha256 and self._is_to_be_reloaded(file, entry):
                is_reloaded = True
                is_waived = entry.is_threshold_waived
            elif digest == entry.sha256:
                if not has_form_of(entry, file):
                    cursor.execute(
                        "update raw.load_ledger set modified_at = %s, etag = %s where file_id = %s",
                        (file.form.modified_at, file.form.etag, entry.file_id),
                    )
                return replace(outcome_of(file, "unchanged"), file_id=entry.file_id)
        if (
            entry is not None
            and held is not None
            and held.reason == journal.ERASED
            and held.sha256 != entry.sha256
            and held.sha256 == hash_file(file.location)
        ):
            # An erasure rewrote the file, carried the decision and died before it told the ledger.
            if entry.status == journal.STATUS.get(held.decision):
                cursor.execute(
                    "update raw.load_ledger set erased_at = coalesce(erased_at, clock_timestamp()), "
                    "erased_sha256 = %s, bytes = %s, modified_at = %s, etag = %s where file_id = %s",
                    (held.sha256, file.bytes, file.form.modified_at, file.form.etag, entry.file_id),
                )
                return replace(outcome_of(file, "unchanged"), file_id=entry.file_id)
            is_reloaded = is_waived = held.decision == "accept"
        if decision is not None and decision.sha256 == hash_file(file.location):
            if decision.decision in journal.STATUS:
                return self._set_aside(cursor, file, decision)
            is_waived = decision.decision == "accept"
        if entry is not None and held is not None and not is_reloaded:
            is_decided = entry.status in ("discarded", "withdrawn") or (
                entry.status == "loaded" and entry.is_threshold_waived
            )
            if is_decided:  # a return to the decided bytes is then a new version like any other
                journal.append(
                    self._context.settings,
                    "superseded",
                    self._contract.source,
                    file.path,
                    "",
                    reason="other bytes",
                )
        reader = self._reader(file)
        start, is_whole, pieces = reader.start()
        header: Header | None = None
        refusal: str | None = None
        try:
            header = read_header(start, self._contract, is_whole_file=is_whole)
        except RefusedFileError as error:
            refusal = str(error)
        content: Iterator[bytes] = itertools.chain([start[header.length :]] if header else [], pieces)
        return _Opened(file, entry, reader, header, content, is_waived, refusal)

    def _reader(self, file: LandedFile) -> FileReader:
        return FileReader(
            file.location,
            is_gzip=file.is_gzip,
            max_expansion=self._context.settings.load_max_expansion,
        )

    def _is_to_be_reloaded(self, file: LandedFile, entry: Known) -> bool:
        reload = self._context.reload
        return reload is not None and reload.covers(file) and entry.status not in ("discarded", "withdrawn")

    def _set_aside(
        self, cursor: psycopg2.extensions.cursor, file: LandedFile, decision: journal.Decision
    ) -> FileOutcome:
        status = journal.STATUS[decision.decision]
        message = f"Set aside until other bytes come: {decision.decision} of {decision.at}."
        cursor.execute(
            """
            insert into raw.load_ledger (
                source, entity, business_date, path, part, version, contract_hash, sha256, bytes, modified_at,
                etag, status, run_id, started_at, finished_at, message
            )
            values (%s, %s, %s, %s, %s, 1, %s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp(), %s)
            returning file_id
            """,
            (
                *(self._contract.source, self._contract.entity, file.business_date, file.path, file.part),
                *(self._contract.hash, decision.sha256, file.bytes, file.form.modified_at, file.form.etag),
                *(status, self._context.run_id, self._started_at, message),
            ),
        )
        return replace(outcome_of(file, "set_aside", message), file_id=one_value(cursor))

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
            try:
                self._copy_into(cursor, loadable, self._table, is_careful=False)
            except RefusedFileError as error:
                raise SplitBatch from error
            refused = [entry.file for entry in loadable if self._is_over_threshold(entry)]
            if refused:
                raise SplitBatch(refused)
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
            except RefusedFileError as error:  # it holds more than such a file may
                cursor.execute("rollback to savepoint before_copy")
                self._refuse(entry, str(error))
                return
            except (psycopg2.errors.UniqueViolation, psycopg2.errors.ProgramLimitExceeded):
                cursor.execute("rollback to savepoint before_copy")
                if is_staged:
                    raise
                # A key is there twice in the file, or too long for an index: sorted out before it gets there.
                is_staged = True
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
        entry.reader = self._reader(entry.file)
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
        among = self._move_out_broken(cursor, table, by_id, rows, start_block if not is_indexed else None)
        if table == self._table:
            self._among = among
        keys = ddl.keys_within_file(self._contract)
        if keys and not is_indexed and not self._index_now(cursor, opened, table):
            is_many = sum(rows.values()) > _MANY_ROWS
            for key in keys:
                self._move_out_duplicates(cursor, table, key, by_id, among=among, is_many=is_many)

    def _table_state(self, cursor: psycopg2.extensions.cursor, table: str) -> tuple[int, bool]:
        if table != self._table:
            return 0, False
        if self._contract.table in self._context.indexed:
            return 0, True
        cursor.execute(
            "select pg_relation_size(%s::regclass) / current_setting('block_size')::bigint", (table,)
        )
        start_block = one_value(cursor)
        is_indexed = ddl.has_indexes(cursor, self._contract)
        if is_indexed:
            self._context.indexed.add(self._contract.table)
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
            in_thread=sum(entry.file.bytes for entry in opened) > 2 * SMALL_FILE,
        )
        self._note_conversions(cursor, opened)
        expected = sum(
            e.stream.records - len(e.stream.bad_records) - len(e.conversion_lines)
            for e in opened
            if e.stream is not None
        )
        if copied != expected:
            raise InconsistentLoadError(
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
        # The server learns from the first record what ends a line, and does not count the lines inside it.
        streams_out = (_stream_of(entry) for entry in opened)
        uncounted = next((stream.uncounted_lines for stream in streams_out if stream.lines_out), 0)
        lines = sorted({line + uncounted for line in self._notices.lines})
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
    ) -> str:
        """Take rows that break a rule out of the table.

        Returns:
            The condition that finds the files' rows, with `%(ids)s` for their ids.
        """
        among, total = _OF_FILES, sum(rows.values())
        parameters: dict[str, Any] = {"ids": list(rows)}
        condition = among
        if total > _MANY_ROWS or (start_block or 0) > _RECENT_BLOCKS:
            # Looking first runs in parallel, which deleting does not; mostly there is nothing to delete.
            look = f"select count(*), array_agg(ctid) filter (where _reject_reason is not null) from {table}"
            # Without an index: new rows lie behind the old ones, or in pages that were added shortly before.
            # The old ones are not read then; else each file of a first load would read all before it. Whether
            # the rows are all there is counted.
            first = max((start_block or 0) - _RECENT_BLOCKS, 0)
            behind = f"{among} and ctid >= '({first},0)'::tid" if first else among
            cursor.execute(f"{look} where {behind}", parameters)
            found, broken = one_row(cursor)
            if found == total:
                among = behind
            else:
                cursor.execute(f"{look} where {among}", parameters)
                found, broken = one_row(cursor)
            if not broken:
                return among
            condition, parameters = "ctid = any(%(broken)s::tid[])", {"broken": broken}
        cursor.execute(
            f"delete from {table} where {condition} and _reject_reason is not null "
            "returning _file_id, _line_number",
            parameters,
        )
        for file_id, line in cursor:
            by_id[file_id].rule_lines.append(line)
        return among

    def _index_now(self, cursor: psycopg2.extensions.cursor, opened: Sequence[_Opened], table: str) -> bool:
        """Build the indexes with the only large file of an entity: the unique one proves its keys."""
        if not (
            self._is_alone
            and table == self._table
            and self._contract.table in self._context.sole_tables
            and opened[0].file.bytes > SMALL_FILE
        ):
            return False
        cursor.execute("select pg_try_advisory_xact_lock(%s)", (db.DDL_LOCK,))
        if not one_value(cursor):
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
        among: str,
        is_many: bool,
    ) -> None:
        """Of equal keys in one file the last line stays; the earlier ones are taken out."""
        names = ", ".join(ddl.quote_name(name) for name in key)
        present = " and ".join(f"{ddl.quote_name(name)} is not null" for name in key)
        ids = {"ids": list(by_id)}
        cursor.execute("select set_config('work_mem', '128MB', true)")
        if is_many:
            cursor.execute(
                f"select exists (select from {table} where {among} and {present} "
                f"group by _file_id, {names} having count(*) > 1)",
                ids,
            )
            if not one_value(cursor):
                return
        cursor.execute(
            f"""
            with ranked as (
                select ctid, _line_number,
                    max(_line_number) over (partition by _file_id, {names}) as last_line
                from {table}
                where {among} and {present}
            )
            delete from {table} as t
            using ranked
            where t.ctid = ranked.ctid and ranked._line_number < ranked.last_line
            returning t._file_id, t._line_number, ranked.last_line
            """,
            ids,
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
        self._among = _OF_FILES

    # what is left to write ----------------------------------------------------------------------------

    def _finish(
        self, cursor: psycopg2.extensions.cursor, opened: Sequence[_Opened], others: Sequence[FileOutcome]
    ) -> list[FileOutcome]:
        """Write everything about the opened files, and the attempts at the others, and commit."""
        outcomes = [self._file_outcome(entry) for entry in opened]
        self._write_ledger(cursor, opened, outcomes)
        self._write_rejects(cursor, opened)
        loaded = [entry for entry in opened if entry.status == "loaded"]
        has_removed = erasure.forget_in_files(
            cursor,
            self._context.settings,
            self._contract,
            [entry.file_id for entry in opened],
            loaded=[entry.file_id for entry in loaded],
            among=self._among,
        )
        has_removed |= take_out(
            cursor,
            self._contract,
            {
                entry.known.live_file_id: entry.file_id
                for entry in loaded
                if entry.known and entry.known.live_file_id
            },
            superseded={entry.known.file_id for entry in opened if entry.known and _supersedes(entry)},
        )
        if loaded:
            days = {day for entry in loaded if (day := entry.file.business_date) is not None}
            has_removed |= settle_days(cursor, self._contract, days, loaded[0].file_id)
        insert_attempts(cursor, self._context.run_id, [*others, *outcomes], self._started_at)
        commit_with_load_ids(
            cursor, self._context.settings, [entry.file_id for entry in loaded], has_removed=has_removed
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
            bytes=entry.reader.form.bytes,
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
            if entry.status == "refused":
                entry.reader.read_to_end()  # the digest is over all bytes; what they hold is not asked for
            rows.append(
                (
                    *(entry.file_id, self._contract.source, self._contract.entity),
                    *(entry.file.business_date, entry.file.path, entry.file.part),
                    entry.known.version + 1 if entry.known else 1,
                    *(self._contract.hash, entry.reader.sha256, entry.reader.form.bytes),
                    *(entry.reader.form.modified_at, entry.reader.form.etag),
                    entry.header.raw if entry.header else None,
                    *(outcome.rows_read, outcome.rows_loaded, outcome.rows_rejected, entry.status),
                    entry.is_waived and entry.status == "loaded",
                    *(self._context.run_id, self._started_at, outcome.message),
                )
            )
        execute_values(
            cursor,
            """
            insert into raw.load_ledger (
                file_id, source, entity, business_date, path, part, version, contract_hash, sha256, bytes,
                modified_at, etag, header, rows_read, rows_loaded, rows_rejected, status,
                is_threshold_waived, run_id, started_at, message, finished_at
            )
            overriding system value values %s
            """,
            rows,
            template="(" + ", ".join(["%s"] * 21) + ", clock_timestamp())",
            page_size=1000,
        )

    def _write_rejects(self, cursor: psycopg2.extensions.cursor, opened: Sequence[_Opened]) -> None:
        if any(entry.stream and entry.rejected for entry in opened):
            store_rejects(cursor, self._contract, _rejected_records(opened))


def _supersedes(entry: _Opened) -> bool:
    """Whether the new version settles the rejected rows of the one before; while rows stay, so do they."""
    return entry.status == "loaded" or (entry.known is not None and entry.known.status == "refused")


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
            entry.file.location,
            is_gzip=entry.file.is_gzip,
            stream=entry.stream,
            wanted=wanted,
            form=entry.reader.form,
        ):
            reason = entry.duplicate_lines.get(line)
            yield RejectedRecord(entry.file_id, line, raw, (reason,) if reason else (), entry.header)
