"""The migrations make roles, schemas and tables, and can be run again."""

from __future__ import annotations

import re

import psycopg2
import pytest

from ecommerce_dw import db
from ecommerce_dw.migrations import head, migrate
from ecommerce_dw.settings import PROJECT_DIR, Settings


def test_migrating_twice_ends_at_the_newest_revision(settings: Settings) -> None:
    assert migrate(settings) == head()
    assert migrate(settings) == head()


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
