"""Who reads personal data is in the server's log, and the documented way finds it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import psycopg2
import psycopg2.extensions
import pytest
from psycopg2 import errors
from pydantic import SecretStr

from ecommerce_dw import db
from ecommerce_dw.platform import database
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.settings import PROJECT_DIR, Settings
from tests.support.raw_rows import RawRows, customer


@pytest.fixture
def audited(settings: Settings, owner: psycopg2.extensions.connection) -> Iterator[Settings]:
    """A warehouse with a customer, in which pii_reader may log in."""
    raw = RawRows(owner, settings)
    raw.create_tables("ecommerce")
    raw.load("ecommerce", "customers", "2026-03-01", [customer("C1", "2026-03-01 12:00:00+00")])
    changed = settings.model_copy(update={"pii_reader_password": SecretStr("reads-and-is-seen")})
    database.set_role_passwords(changed)
    yield changed
    database.set_role_passwords(settings)


def test_whatever_pii_reader_does_is_found_by_the_documented_command(
    audited: Settings, postgres: EmbeddedPostgres
) -> None:
    with db.transaction("pii_reader", settings=audited) as cursor:
        cursor.execute("select email\nfrom raw.ecommerce__customers\nwhere customer_id = %s", ("C1",))
        assert cursor.fetchone() is not None
    with db.transaction("analyst", settings=audited) as cursor:
        cursor.execute("select 'nobody asks about this one'")
    text = (PROJECT_DIR / "docs" / "security.md").read_text()
    (recipe,) = re.findall(r"^(awk .+) var/postgres/postgresql\.log$", text, flags=re.MULTILINE)
    found = subprocess.run(
        f"{recipe} {postgres.log_file}", shell=True, check=True, capture_output=True, text=True
    ).stdout
    assert f"pii_reader@{audited.warehouse_db}" in found
    assert "where customer_id = 'C1'" in found and "from raw.ecommerce__customers" in found
    assert "nobody asks" not in found


def test_pii_reader_cannot_stop_the_log_nor_write(audited: Settings) -> None:
    connection = db.connect("pii_reader", settings=audited)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in ("set log_statement to 'none'", "alter role pii_reader set log_statement to 'none'"):
            with pytest.raises(errors.InsufficientPrivilege):
                cursor.execute(statement)
        with pytest.raises(psycopg2.Error):
            cursor.execute("delete from raw.ecommerce__customers")
    connection.close()


def test_without_a_password_pii_reader_and_api_cannot_log_in(settings: Settings) -> None:
    database.set_role_passwords(settings)
    assert not {"pii_reader", "api"} & set(settings.login_roles)
    with pytest.raises(psycopg2.OperationalError, match=r"not permitted to log in|password"):
        db.connect("pii_reader", settings=settings)
