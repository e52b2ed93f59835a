"""What a person decides about a file: accept or discard a refused one, withdraw a loaded one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg2.extensions

from ecommerce_dw import db
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.loading import journal
from ecommerce_dw.loading.landing import landing_of
from ecommerce_dw.loading.ledger import commit_with_load_ids, path_lock, settle_days, take_out
from ecommerce_dw.loading.loader import load
from ecommerce_dw.loading.outcome import FileOutcome
from ecommerce_dw.settings import Settings


class DecisionError(ValueError):
    """The decision cannot be taken; the message says why and what can."""


@dataclass(frozen=True)
class LedgerEntry:
    """The newest version of a path in the ledger, as far as decisions need it."""

    file_id: int
    source: str
    entity: str
    path: str
    version: int
    status: str
    sha256: str
    rows_read: int
    rows_rejected: int
    message: str | None


@dataclass(frozen=True)
class Withdrawal:
    """What was withdrawn: the file, and how many of its rows went."""

    source: str
    path: str
    rows_removed: int


def find_entry(
    connection: psycopg2.extensions.connection, settings: Settings, path: str, source: str | None
) -> LedgerEntry:
    """The ledger's newest version of a path.

    Args:
        path: As the ledger has it, or any path or URL that leads to the file in its landing zone.
        source: Needed where two sources have a file of the same path.

    Raises:
        DecisionError: No such file, or more than one.
    """
    with connection.cursor() as cursor:
        cursor.execute("select distinct source from raw.load_ledger")
        sources = [source] if source else sorted(row[0] for row in cursor)
        spellings = {
            (name, spelling) for name in sources for spelling in landing_of(settings, name).spellings(path)
        }
        cursor.execute(
            """
            select file_id, source, entity, path, version, status, coalesce(erased_sha256, sha256), rows_read,
                rows_rejected, message
            from raw.load_ledger
            where is_current and (source, path) in (select * from unnest(%s::text[], %s::text[]))
            order by source, path
            """,
            ([name for name, _ in spellings], [spelling for _, spelling in spellings]),
        )
        found = [LedgerEntry(*row) for row in cursor]
    connection.rollback()
    if not found:
        raise DecisionError(
            f"The ledger has no file {path}. Paths are relative to the source's landing zone; "
            "`select source, path from raw.load_ledger` lists them."
        )
    if len(found) > 1:
        names = ", ".join(entry.source for entry in found)
        raise DecisionError(f"{path} is a file of several sources ({names}). Say which with --source.")
    return found[0]


def accept(
    settings: Settings,
    path: str,
    *,
    source: str | None = None,
    reason: str = "",
    run_id: str | None = None,
    contracts: Mapping[str, Mapping[str, Contract]] | None = None,
) -> FileOutcome:
    """Load a refused file although more of its rows fail than its contract allows.

    Raises:
        DecisionError: It is not refused, or its header is what was refused.
    """
    connection = db.connect("loader", settings=settings, application_name="ecommerce-dw accept")
    try:
        entry = find_entry(connection, settings, path, source)
        if entry.status not in ("refused", "discarded"):
            raise DecisionError(f"{entry.path} is {entry.status}, not refused: there is nothing to accept.")
        if not entry.rows_rejected:
            raise DecisionError(
                f"{entry.path} was refused for what it is, not for the number of its rows that fail: that "
                f"cannot be waived. {entry.message} Deliver it again, or discard it."
            )
        journal.append(settings, "accept", entry.source, entry.path, entry.sha256, reason=reason)
        with connection, connection.cursor() as cursor:
            db.advisory_locks(cursor, [path_lock(entry.source, entry.path)], f"file {entry.path}", settings)
            cursor.execute(
                "update raw.load_ledger set is_threshold_waived = true, status = 'refused' "
                "where file_id = %s and is_current",
                (entry.file_id,),
            )
    finally:
        connection.close()
    # The waiver is in the ledger: if this load is killed, the next one loads the file.
    summary = load(settings, source=entry.source, paths=[entry.path], run_id=run_id, contracts=contracts)
    outcomes = [outcome for outcome in summary.outcomes if outcome.path == entry.path]
    if not outcomes:
        raise DecisionError(
            f"{entry.path} is accepted, but it is not in the landing zone any more. "
            "Its rows load when the same bytes are there again."
        )
    return outcomes[0]


def discard(settings: Settings, path: str, *, source: str | None = None, reason: str = "") -> LedgerEntry:
    """Settle a refused file by leaving it out until other bytes come. Rows of its earlier version stay.

    Raises:
        DecisionError: It is not refused.
    """
    connection = db.connect("loader", settings=settings, application_name="ecommerce-dw discard")
    try:
        entry = find_entry(connection, settings, path, source)
        if entry.status != "refused":
            raise DecisionError(
                f"{entry.path} is {entry.status}, not refused: there is nothing to discard."
                + (" `withdraw` takes its rows out." if entry.status == "loaded" else "")
            )
        journal.append(settings, "discard", entry.source, entry.path, entry.sha256, reason=reason)
        with connection, connection.cursor() as cursor:
            db.advisory_locks(cursor, [path_lock(entry.source, entry.path)], f"file {entry.path}", settings)
            cursor.execute(
                "update raw.load_ledger set status = 'discarded', is_threshold_waived = false, "
                "message = concat_ws(' ', 'Discarded:', nullif(%s, ''), message) "
                "where file_id = %s and is_current and status = 'refused'",
                (reason, entry.file_id),
            )
            cursor.execute(
                "update raw.rejected_rows set resolved_by = path where file_id = %s", (entry.file_id,)
            )
    finally:
        connection.close()
    return entry


def withdraw(
    settings: Settings,
    path: str,
    *,
    source: str | None = None,
    reason: str = "",
    run_id: str | None = None,
    contracts: Mapping[str, Mapping[str, Contract]] | None = None,
) -> Withdrawal:
    """Take a loaded file's rows out: a new version without rows, set aside until other bytes come.

    Raises:
        DecisionError: No rows of it are loaded.
    """
    connection = db.connect("loader", settings=settings, application_name="ecommerce-dw withdraw")
    try:
        entry = find_entry(connection, settings, path, source)
        contract = (contracts or read_contracts(settings.contracts_dir))[entry.source][entry.entity]
        with connection, connection.cursor() as cursor:
            db.advisory_locks(cursor, [path_lock(entry.source, entry.path)], f"file {entry.path}", settings)
            cursor.execute(
                """
                select distinct on (path) file_id, status, rows_loaded
                from raw.load_ledger
                where source = %s and path = %s and status in ('loaded', 'withdrawn')
                order by path, version desc
                """,
                (entry.source, entry.path),
            )
            live = cursor.fetchone()
            if live is None or live[1] == "withdrawn":
                raise DecisionError(
                    f"{entry.path} has no rows in the warehouse: there is nothing to withdraw."
                )
            # The bytes that lie there now are the ones that are set aside.
            journal.append(settings, "withdraw", entry.source, entry.path, entry.sha256, reason=reason)
            cursor.execute(
                """
                with earlier as (
                    update raw.load_ledger set is_current = false
                    where source = %s and path = %s and is_current
                    returning *
                )
                insert into raw.load_ledger (
                    source, entity, business_date, path, part, version, contract_hash, sha256, bytes,
                    modified_at, etag, header, erased_at, erased_sha256, status, run_id, finished_at, message
                )
                select source, entity, business_date, path, part, version + 1, contract_hash, sha256, bytes,
                    modified_at, etag, header, erased_at, erased_sha256, 'withdrawn', %s, clock_timestamp(),
                    concat_ws(' ', 'Withdrawn.', nullif(%s, ''))
                from earlier
                returning file_id, business_date
                """,
                (entry.source, entry.path, run_id, reason),
            )
            row = cursor.fetchone()
            assert row is not None
            file_id, business_date = row
            has_removed = take_out(cursor, contract, {live[0]: file_id}, superseded={live[0], entry.file_id})
            has_removed |= settle_days(cursor, contract, [business_date], file_id)
            commit_with_load_ids(cursor, settings, [file_id], has_removed=has_removed)
    finally:
        connection.close()
    return Withdrawal(entry.source, entry.path, live[2])


def accept_expectation(settings: Settings, name: str, *, reason: str = "") -> int:
    """Accept a failed expectation for what was loaded up to the latest run's upper end.

    Returns:
        That upper end: what is loaded later is not accepted.
    """
    connection = db.connect("loader", settings=settings, application_name="ecommerce-dw accept")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                """
                insert into ops.accepted_expectations (name, reason, load_id_to)
                select %s, %s, coalesce(
                    (select load_id_to from ops.current_run), (select max(load_id) from raw.load_ledger), 0
                )
                on conflict (name) do update set
                    reason = excluded.reason, load_id_to = excluded.load_id_to,
                    accepted_by = excluded.accepted_by, accepted_at = clock_timestamp()
                returning load_id_to
                """,
                (name, reason),
            )
            row = cursor.fetchone()
            assert row is not None
            return int(row[0])
    finally:
        connection.close()
