"""Connections to the warehouse and its locks: who waits, how long, and what they are told.

Locks are taken in one order: the run lock, the transform lock, the lock of erasures, files by their keys, raw
tables' changes, rows and tables, the transform lock shared, load ids. docs/decisions/0024-faults.md says why
no circle remains.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeAlias

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from ecommerce_dw.settings import Role, Settings, get_settings

if TYPE_CHECKING:
    from sqlalchemy import URL

#: A psycopg2 connection, under the name the package's signatures use.
Connection: TypeAlias = psycopg2.extensions.connection

#: Key of the advisory lock that transform and publish hold, and loaders hold shared while they commit.
TRANSFORM_LOCK = 7_305_001
#: Key of the advisory lock under which a load id is drawn, so that load ids commit in order.
LOAD_ID_LOCK = 7_305_002
#: Key of the advisory lock that keeps two migrations apart.
MIGRATION_LOCK = 7_305_003
#: Key of the advisory lock under which raw tables are made and changed.
DDL_LOCK = 7_305_004
#: Key of the advisory lock under which incidents are compared and written.
INCIDENT_LOCK = 7_305_005
#: Key of the advisory lock under which layers are reconciled.
RECONCILIATION_LOCK = 7_305_006
#: Key of the advisory lock that a whole run in one process holds; the pipeline's load waits for it.
RUN_LOCK = 7_305_007
#: Key of the advisory lock that keeps two restores on one server apart.
RESTORE_LOCK = 7_305_008
#: Key of the advisory lock that loads hold shared, and who has a person forgotten alone.
ERASURE_LOCK = 7_305_009


class _Connection(psycopg2.extensions.connection):
    """One whose `with` lets the error that ended the block be seen, whatever the rollback says after it."""

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(psycopg2.Error) if error_type else contextlib.nullcontext():
            super().__exit__(error_type, error, traceback)


class LockHeldError(RuntimeError):
    """A lock was not free within the time allowed; the message names who holds it, and since when."""


class LockLostError(RuntimeError):
    """The session that held a lock ended before the work under it did; the message says what to do."""


def connect(
    role: Role = "owner", *, settings: Settings | None = None, application_name: str = "ecommerce-dw"
) -> Connection:
    """Open a connection to the warehouse.

    None of its statements waits longer than `lock_wait_seconds` for a lock.

    Args:
        role: Which of the warehouse's roles to log in as.
        settings: Defaults to the process's settings.
        application_name: Shown in `pg_stat_activity`; a lock holder is named by it.

    Raises:
        psycopg2.OperationalError: The server does not answer or refuses the login.
    """
    settings = settings or get_settings()
    user, password = settings.role_login(role)
    connection: Connection = psycopg2.connect(
        host=settings.host,
        port=settings.warehouse_port,
        dbname=settings.warehouse_db,
        user=user,
        password=password,
        application_name=application_name,
        sslmode=settings.warehouse_sslmode,
        sslrootcert=settings.warehouse_sslrootcert or None,
        connection_factory=_Connection,
        **settings.network_waits,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "select set_config('timezone', 'UTC', false), set_config('lock_timeout', %s, false)",
            (settings.lock_timeout,),
        )
    connection.commit()
    return connection


@contextlib.contextmanager
def transaction(
    role: Role = "owner", *, settings: Settings | None = None
) -> Iterator[psycopg2.extensions.cursor]:
    """One transaction on a connection of its own: committed at the end, rolled back on an error, closed.

    Args:
        role: Which of the warehouse's roles to log in as.
        settings: Defaults to the process's settings.
    """
    with (
        contextlib.closing(connect(role, settings=settings)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        yield cursor


def sqlalchemy_url(role: Role = "owner", *, settings: Settings | None = None) -> URL:
    """The warehouse's address for SQLAlchemy, with the driver named (a bare one would mean psycopg 3)."""
    from sqlalchemy import URL  # a third of a second, which most of who connect do not need

    settings = settings or get_settings()
    user, password = settings.role_login(role)
    return URL.create(
        "postgresql+psycopg2",
        username=user,
        password=password,
        host=settings.host,
        port=settings.warehouse_port,
        database=settings.warehouse_db,
        query=settings.tls,
    )


def transform_lock(
    *, holder: str, settings: Settings | None = None
) -> contextlib.AbstractContextManager[None]:
    """Hold the transform lock in a session of its own for as long as the block runs.

    Args:
        holder: What the lock is held for, e.g. `build warehouse (run scheduled__2026-01-31)`; others who
            wait are told this text.
        settings: `lock_wait_seconds` bounds the wait.

    Raises:
        LockHeldError: The lock was held by others all that time.
        LockLostError: The lock's session ended before the block did: others may have worked beside it.
    """
    return _session_lock(TRANSFORM_LOCK, "transform lock", holder, settings or get_settings())


def shared_transform_lock(*, holder: str, settings: Settings) -> contextlib.AbstractContextManager[None]:
    """Keep transform and publish out, and let loaders go on; otherwise as `transform_lock`."""
    return _session_lock(TRANSFORM_LOCK, "transform lock", holder, settings, is_shared=True)


def run_lock(*, holder: str, settings: Settings) -> contextlib.AbstractContextManager[None]:
    """Hold the run lock, which keeps whole runs apart; otherwise as `transform_lock`."""
    return _session_lock(RUN_LOCK, "run lock", holder, settings)


@contextlib.contextmanager
def _session_lock(
    key: int, name: str, holder: str, settings: Settings, *, is_shared: bool = False
) -> Iterator[None]:
    function = "pg_try_advisory_lock_shared" if is_shared else "pg_try_advisory_lock"
    connection = connect("transformer", settings=settings, application_name=f"ecommerce-dw: {holder}"[:63])
    connection.autocommit = True
    try:
        deadline = time.monotonic() + settings.lock_wait_seconds
        pause = 0.05
        with connection.cursor() as cursor:
            while True:
                cursor.execute(f"select {function}(%s)", (key,))
                row = cursor.fetchone()
                if row and row[0]:
                    break
                if time.monotonic() >= deadline:
                    raise LockHeldError(_describe_holders(cursor, (key,), name, settings))
                time.sleep(pause)
                pause = min(pause * 1.5, 1.0)
        yield
        _require_session(connection, name, holder)
    finally:
        connection.close()  # ends the session, which frees the lock


def _require_session(connection: Connection, name: str, holder: str) -> None:
    """Refuse what was done under a lock whose session is gone."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except psycopg2.OperationalError as error:
        raise LockLostError(
            f"The session that held the {name} for {holder} ended before the work did, so another run may "
            "have worked beside it. Run it again: that ends in the same state."
        ) from error


def advisory_locks(
    cursor: psycopg2.extensions.cursor,
    keys: Sequence[int],
    name: str,
    settings: Settings | None = None,
    *,
    is_shared: bool = False,
    until: Literal["transaction", "session"] = "transaction",
) -> None:
    """Take advisory locks in the order of their keys.

    Waits as long as the session's `lock_timeout`, for each.

    Args:
        cursor: Of a connection of `connect`.
        keys: The locks.
        name: What they are, for the error.
        settings: Whose warehouse, for the error: the owner sees since when others hold a lock; None asks as
            who waits, to whom the sessions of other roles show no time.
        is_shared: Whether others may hold them shared meanwhile.
        until: The end of what frees them.

    Raises:
        LockHeldError: One of them was held by others all that time. The transaction is rolled back.
    """
    function = ("pg_advisory_xact_lock" if until == "transaction" else "pg_advisory_lock") + (
        "_shared" if is_shared else ""
    )
    try:
        cursor.execute(
            f"select {function}(key) from unnest(%s::bigint[]) with ordinality as k (key, n)", (sorted(keys),)
        )
    except psycopg2.errors.LockNotAvailable as error:
        cursor.connection.rollback()
        raise LockHeldError(_describe_holders(cursor, keys, name, settings)) from error


@contextlib.contextmanager
def named_holders(settings: Settings, what: str) -> Iterator[None]:
    """Turn a table or row that was not free in time into an error that says who uses it.

    Args:
        settings: Whose warehouse.
        what: What could not be done, as the beginning of a sentence, e.g. `The load`.

    Raises:
        LockHeldError: The block ended with a lock that was not free.
    """
    try:
        yield
    except psycopg2.errors.LockNotAvailable as error:
        raise LockHeldError(
            f"{what} waited longer than {settings.lock_wait_seconds:g} s for a table or row that others use. "
            f"In use by: {users_of(settings)}. What was not committed was rolled back. Let those sessions "
            "end, then run it again (setting LOCK_WAIT_SECONDS changes the wait)."
        ) from error


def users_of(settings: Settings, *schemas: str) -> str:
    """Who holds locks on tables of the warehouse now, the longest first, for an error.

    The owner is asked, who sees when others' transactions began.

    Args:
        settings: Whose warehouse.
        schemas: Only tables of these; none: of all but the server's own.
    """
    try:
        with transaction("owner", settings=settings) as cursor:
            cursor.execute(
                """
                select a.pid, a.usename, a.application_name, a.xact_start,
                    string_agg(distinct n.nspname || '.' || c.relname, ', ')
                from pg_locks as l
                join pg_class as c on c.oid = l.relation and c.relkind in ('r', 'p', 'v', 'm')
                join pg_namespace as n on n.oid = c.relnamespace
                join pg_stat_activity as a on a.pid = l.pid
                where l.granted and a.pid <> pg_backend_pid() and a.datname = current_database()
                    and n.nspname !~ '^(pg_|information_schema$)'
                    and (%(schemas)s::text[] = '{}' or n.nspname = any(%(schemas)s::text[]))
                group by a.pid, a.usename, a.application_name, a.xact_start
                order by a.xact_start nulls last
                limit 5
                """,
                {"schemas": list(schemas)},
            )
            users = "; ".join(
                f"pid {pid} ({user}, {name or 'no name'})"
                + (f" since {since:%H:%M:%S} UTC" if since else "")
                + f": {tables if len(tables) < 200 else tables[:200] + ' …'}"
                for pid, user, name, since, tables in cursor
            )
    except psycopg2.Error as error:  # who asks has an error to tell of, which this one must not hide
        return f"unknown, the server does not tell ({str(error).strip()})"
    return users or "nobody any more"


def _describe_holders(
    cursor: psycopg2.extensions.cursor, keys: Sequence[int], name: str, settings: Settings | None
) -> str:
    if settings is not None:
        # Where the owner can't ask, who waits does, below: the lock's error matters more.
        with contextlib.suppress(psycopg2.Error), transaction("owner", settings=settings) as as_owner:
            return _describe_holders(as_owner, keys, name, None)
    # A key's two halves are columns of their own.
    cursor.execute(
        """
        select distinct a.application_name, a.pid, a.backend_start
        from pg_locks as l
        join pg_stat_activity as a using (pid)
        where l.locktype = 'advisory' and l.granted and l.objsubid = 1
            and (l.classid::bigint << 32) | l.objid::bigint = any(%s::bigint[])
            and l.pid <> pg_backend_pid()
            and l.database = (select oid from pg_database where datname = current_database())
        """,
        (list(keys),),
    )
    # A role that may not see another's statistics gets no start time.
    holders = "; ".join(
        f"{application} (pid {pid}" + (f", since {since:%H:%M:%S} UTC)" if since else ")")
        for application, pid, since in cursor
    )
    cursor.execute("show lock_timeout")
    (wait,) = cursor.fetchone() or ("",)
    return (
        f"The {name} was not free within {wait}. "
        f"Held by: {holders or 'nobody any more'}. Wait for that run to end, or end it, then run again "
        "(setting LOCK_WAIT_SECONDS changes the wait)."
    )
