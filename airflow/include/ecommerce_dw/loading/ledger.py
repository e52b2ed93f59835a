"""The load ledger: what is known of a path, whose rows go, and load ids in the order of commits."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2.extras import Json, execute_values

from ecommerce_dw import db
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading import ddl
from ecommerce_dw.loading.discover import LandedFile
from ecommerce_dw.loading.outcome import FileOutcome
from ecommerce_dw.loading.rejects import kept_keys, settle
from ecommerce_dw.settings import Settings


def in_effect(alias: str) -> str:
    """Condition on a row of `raw.load_ledger`: its rows are the ones in the table.

    That is the newest version that took effect. A newer one that was refused or discarded is the path's
    current version, and leaves the rows of this one where they are.
    """
    return (
        f"({alias}.status = 'loaded' and not exists (select from raw.load_ledger as newer "
        f"where newer.source = {alias}.source and newer.path = {alias}.path "
        f"and newer.version > {alias}.version and newer.status in ('loaded', 'withdrawn')))"
    )


def one_value(cursor: psycopg2.extensions.cursor) -> Any:
    return one_row(cursor)[0]


def one_row(cursor: psycopg2.extensions.cursor) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = cursor.fetchone()
    if row is None:
        raise LookupError("The server answered with no row where one was expected.")
    return row


@dataclass(frozen=True)
class Known:
    """What the ledger says about a path: its newest version, and the version whose rows are in the table.

    The digest is that of the bytes that lie there: without personal data where it was erased.
    """

    file_id: int
    version: int
    entity: str
    business_date: dt.date | None
    status: str
    bytes: int
    modified_at: dt.datetime | None
    etag: str | None
    sha256: str
    contract_hash: str
    is_threshold_waived: bool
    live_file_id: int | None


def read_known(
    connection: psycopg2.extensions.connection, source: str, paths: Sequence[str] | None = None
) -> dict[str, Known]:
    """What the ledger says about the paths of a source, by path. Leaves the transaction open."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select
                l.path, l.file_id, l.version, l.entity, l.business_date, l.status, l.bytes, l.modified_at,
                l.etag, coalesce(l.erased_sha256, l.sha256), l.contract_hash, l.is_threshold_waived,
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


def is_settled(entry: Known, file: LandedFile) -> bool:
    """Whether the ledger has this file in its present form, and nothing is left to be tried with it."""
    return has_form_of(entry, file) and not is_to_be_tried_again(entry, file)


def has_form_of(entry: Known, file: LandedFile) -> bool:
    """Whether the file is the one that was read, as far as size and etag, or else size and time, tell.

    A store's etag is as good as the bytes, while its times are of whole seconds. A file that came from a
    folder to a bucket, or back, is looked at once.
    """
    form = file.form
    if entry.bytes != form.bytes or entry.etag != form.etag:
        return False
    return form.etag is not None or entry.modified_at == form.modified_at


def is_to_be_tried_again(entry: Known, file: LandedFile) -> bool:
    """A refusal is looked at again under another contract, or when a person accepted the file."""
    return entry.status == "refused" and (
        entry.is_threshold_waived or entry.contract_hash != file.contract.hash
    )


def record_attempts(
    connection: psycopg2.extensions.connection, run_id: str | None, outcomes: Sequence[FileOutcome]
) -> None:
    with connection, connection.cursor() as cursor:
        insert_attempts(cursor, run_id, outcomes, dt.datetime.now(dt.UTC))


def insert_attempts(
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
    waiting_keys_table(cursor)
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
    waiting_keys_table(cursor)
    execute_values(
        cursor,
        "insert into pg_temp.waiting_keys (file_id, source, entity, keys) values %s",
        [(file_id, contract.source, contract.entity, Json(keys)) for keys in changed if keys],
    ) if any(changed) else None
    return True


def waiting_keys_table(cursor: psycopg2.extensions.cursor) -> None:
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
    db.advisory_locks(cursor, [db.TRANSFORM_LOCK], "transform lock", settings, is_shared=True)
    db.advisory_locks(cursor, [db.LOAD_ID_LOCK], "lock of the load ids", settings)
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
