"""The migrations make roles, schemas and tables, and can be run again."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg2
import pytest

from ecommerce_dw import db
from ecommerce_dw.db import LockHeldError
from ecommerce_dw.migrations import head, migrate
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.settings import PROJECT_DIR, Settings
from tests.conftest import settings_for


def test_migrating_twice_ends_at_the_newest_revision(settings: Settings) -> None:
    assert migrate(settings) == head()
    assert migrate(settings) == head()


@pytest.mark.parametrize("before", ["0010", "0011"])
def test_what_a_migration_waits_for_is_named(postgres: EmbeddedPostgres, tmp_path: Path, before: str) -> None:
    """One whose migration speaks to the driver itself, and one that goes through SQLAlchemy."""
    postgres.execute("create database waiting_migration")
    settings = settings_for(
        postgres, "waiting_migration", tmp_path, lock_wait_seconds=0.5, table_lock_wait_seconds=0.5
    )
    migrate(settings)
    with db.transaction(settings=settings) as cursor:
        cursor.execute("update ops.schema_migrations set version_num = %s", (before,))
    with db.transaction(settings=settings) as cursor:
        cursor.execute("lock table raw.load_ledger in access share mode")
        with pytest.raises(LockHeldError, match=r"in use for more than 0.5 s. In use by: .*raw\.load_ledger"):
            migrate(settings)
    with db.transaction(settings=settings) as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (db.MIGRATION_LOCK,))
        with pytest.raises(LockHeldError, match=r"The lock of the migrations was not free .* Held by: "):
            migrate(settings)
    postgres.execute("drop database waiting_migration with (force)")


@pytest.mark.parametrize("role", ["loader", "transformer", "analyst"])
def test_each_role_can_log_in_and_read_the_ledger(settings: Settings, role: db.Role) -> None:
    connection = db.connect(role, settings=settings)
    with connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from raw.load_ledger")
        assert cursor.fetchone() == (0,)
    connection.close()


def test_the_analyst_cannot_write(settings: Settings) -> None:
    connection = db.connect("analyst", settings=settings)
    with connection.cursor() as cursor, pytest.raises(psycopg2.Error):
        cursor.execute("insert into raw.load_ledger default values")
    connection.close()


def test_a_wrong_password_is_refused_on_loopback(settings: Settings) -> None:
    wrong = settings.model_copy(update={"warehouse_password": settings.smtp_password})
    with pytest.raises(psycopg2.OperationalError, match="password"):
        db.connect("owner", settings=wrong)


def test_migrations_are_additive_so_that_the_release_before_runs_on_them() -> None:
    """Rolling back is of code only: nothing that older code reads may go or change its meaning."""
    folder = PROJECT_DIR / "airflow" / "include" / "ecommerce_dw" / "migrations" / "versions"
    taking = re.compile(
        r"\b(drop (table|column|view|function|schema|role)|rename|alter column|truncate|delete from)\b",
        re.IGNORECASE,
    )
    _, *files = sorted(folder.glob("v*.py"))  # the first has nothing before it
    assert len(files) >= 7
    found = [
        f"{file.name}: {line.strip()}"
        for file in files
        for line in file.read_text().splitlines()
        if taking.search(line)
    ]
    assert found == []
