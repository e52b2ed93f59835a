"""Connections to the warehouse and its locks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import psycopg2
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


class LockHeldError(RuntimeError):
    """The transform lock was not free within the time allowed; the message names its holder."""


def connect(
    role: Role = "owner", *, settings: Settings | None = None, application_name: str = "ecommerce-dw"
) -> Connection:
    """Open a connection to the warehouse.

    Args:
        role: Which of the warehouse's roles to log in as.
        settings: Defaults to the process's settings.
        application_name: Shown in `pg_stat_activity`; a lock holder is named by it.

    Raises:
        psycopg2.OperationalError: The server does not answer or refuses the login.
    """
    settings = settings or get_settings()
    user, password = settings.role_login(role)
    connection = psycopg2.connect(
        host=settings.host,
        port=settings.warehouse_port,
        dbname=settings.warehouse_db,
        user=user,
        password=password,
        application_name=application_name,
        connect_timeout=10,
        sslmode=settings.warehouse_sslmode,
        sslrootcert=settings.warehouse_sslrootcert or None,
    )
    with connection.cursor() as cursor:
        cursor.execute("set timezone to 'UTC'")
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
                    raise LockHeldError(_describe_holders(cursor, settings, key, name))
                time.sleep(pause)
                pause = min(pause * 1.5, 1.0)
        yield
    finally:
        connection.close()  # ends the session, which frees the lock


def _describe_holders(
    cursor: psycopg2.extensions.cursor,
    settings: Settings,
    key: int = TRANSFORM_LOCK,
    name: str = "transform lock",
) -> str:
    cursor.execute(
        """
        select a.application_name, a.pid, a.backend_start
        from pg_locks as l
        join pg_stat_activity as a using (pid)
        where l.locktype = 'advisory' and l.objid = %s and l.granted
          and l.database = (select oid from pg_database where datname = current_database())
        """,
        (key,),
    )
    # A role that may not see another's statistics gets no start time.
    holders = "; ".join(
        f"{application} (pid {pid}" + (f", since {since:%H:%M:%S} UTC)" if since else ")")
        for application, pid, since in cursor
    )
    return (
        f"The {name} was not free within {settings.lock_wait_seconds:.0f} s. "
        f"Held by: {holders or 'nobody any more'}. Wait for that run to end, or end it, then run again "
        "(setting LOCK_WAIT_SECONDS changes the wait)."
    )
