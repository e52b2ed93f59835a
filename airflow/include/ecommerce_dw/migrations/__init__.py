"""Numbered, transactional migrations of the schemas `raw` (ledger, rejects) and `ops`.

Raw entity tables are not here: they come from the contracts. What dbt builds is not here either.
"""

from __future__ import annotations

from pathlib import Path

import psycopg2.errors
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from ecommerce_dw import roles
from ecommerce_dw.db import MIGRATION_LOCK, LockHeldError, advisory_locks, sqlalchemy_url, users_of
from ecommerce_dw.settings import Settings, get_settings


def migrate(settings: Settings | None = None) -> str:
    """Bring the warehouse database to the newest migration, in one transaction; lost schemas are made again.

    Returns:
        The revision it is at afterwards, e.g. `0001`.

    Raises:
        LockHeldError: Another migration went on, or somebody used a table, all the time allowed.
    """
    settings = settings or get_settings()
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    engine = create_engine(
        sqlalchemy_url("owner", settings=settings),
        connect_args={"options": f"-c lock_timeout={settings.lock_timeout}", **settings.network_waits},
    )
    try:
        with engine.begin() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            with driver.cursor() as cursor:
                advisory_locks(cursor, [MIGRATION_LOCK], "lock of the migrations", settings)
            # Who waits for a table's lock makes everybody behind it wait: better to fail, and be run again.
            connection.execute(
                text("select set_config('lock_timeout', :wait, true)"), {"wait": settings.table_lock_timeout}
            )
            config.attributes["connection"] = connection
            config.attributes["settings"] = settings
            command.upgrade(config, "head")
            with driver.cursor() as cursor:
                if roles.lost_schemas(cursor):
                    roles.make_schemas(cursor)
        with engine.connect() as connection:
            current = MigrationContext.configure(
                connection, opts={"version_table": "schema_migrations", "version_table_schema": "ops"}
            ).get_current_revision()
        return current or ""
    except (OperationalError, psycopg2.errors.LockNotAvailable) as error:
        # Some migrations speak to the driver itself.
        if not isinstance(getattr(error, "orig", error), psycopg2.errors.LockNotAvailable):
            raise
        raise LockHeldError(
            "The migration needs a table that was in use for more than "
            f"{settings.table_lock_wait_seconds:g} s. In use by: {users_of(settings)}. Nothing was changed. "
            "Let those sessions end, then run it again (setting TABLE_LOCK_WAIT_SECONDS changes the wait)."
        ) from error
    finally:
        engine.dispose()


def head() -> str:
    """The newest migration's number."""
    return _scripts().get_current_head() or ""


def is_known(revision: str) -> bool:
    """Whether this version of the project has that migration."""
    return revision in {script.revision for script in _scripts().walk_revisions()}


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return ScriptDirectory.from_config(config)
