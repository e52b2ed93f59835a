"""The migrations make roles, schemas and tables, and can be run again."""

from __future__ import annotations

import psycopg2
import pytest

from ecommerce_dw import db
from ecommerce_dw.migrations import head, migrate
from ecommerce_dw.settings import Settings


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
