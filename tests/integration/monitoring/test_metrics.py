"""`ecommerce-dw metrics`: real HTTP, a real database, the figures that `status` tells."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import create_engine

from ecommerce_dw import db, migrations
from ecommerce_dw.alerts import TaskFailure, evaluate
from ecommerce_dw.freshness import check_freshness
from ecommerce_dw.metrics import FIGURES, PREFIX, read_figures
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform import database
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port, reachable_folder
from ecommerce_dw.runs import close_run, freeze, open_run
from ecommerce_dw.settings import Settings
from ecommerce_dw.state import read_state
from tests.conftest import settings_for
from tests.support.raw_rows import RawRows

DAY = dt.date(2026, 3, 31)
PASSWORD = "reads-what-happened"


@dataclass
class Endpoint:
    """A process that serves the figures."""

    url: str
    log: Path

    def read(self) -> dict[str, dict[str, float]]:
        """Name → label's value → value, as Prometheus would read it."""
        with urllib.request.urlopen(self.url, timeout=30) as answer:
            text = answer.read().decode()
        return {
            family.name: {"".join(sample.labels.values()): sample.value for sample in family.samples}
            for family in text_string_to_metric_families(text)
        }


@contextlib.contextmanager
def serving(settings: Settings, tmp_path: Path) -> Iterator[Endpoint]:
    """`ecommerce-dw metrics` as a process of its own on a free port."""
    log = tmp_path / "metrics.log"
    program = Path(sys.executable).with_name("ecommerce-dw")
    variables = settings.environment() | {"MONITOR_PASSWORD": settings.monitor_password.get_secret_value()}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [str(program), "metrics", "--listen", "127.0.0.1:0"],
            env=os.environ | variables | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("Serving http://127.0.0.1:"), said + log.read_text()
        yield Endpoint(said.split()[1], log)
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def monitored(settings: Settings) -> Iterator[Settings]:
    """Settings with a password of role monitor, which the server knows."""
    changed = settings.model_copy(update={"monitor_password": SecretStr(PASSWORD)})
    database.set_role_passwords(changed)
    yield changed
    database.set_role_passwords(settings)


@pytest.fixture
def raw(owner: db.Connection, settings: Settings) -> RawRows:
    rows = RawRows(owner, settings)
    rows.create_tables("ecommerce", "sales")
    return rows


def night(settings: Settings, raw: RawRows, *, is_success: bool = True) -> None:
    """Two shops' files, one refused; a run that publishes and checks freshness two days later."""
    raw.load("ecommerce", "orders", DAY, [{"order_id": str(n)} for n in range(12)], rejected=[(14, {})])
    raw.load("ecommerce", "customers", DAY, [{"customer_id": "C1"}])
    raw.refuse("ecommerce", "payments", DAY)
    connection = db.connect("transformer", settings=settings)
    open_run(connection, "night", business_date=DAY)
    freeze(connection, "night")
    close_run(connection, "night", is_success=is_success, message=None if is_success else "failed: load")
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into ops.publications (run_id, load_id_to, table_name, is_full, rows_inserted, "
            "rows_updated, rows_deleted) values ('night', 1, 'sales_summary', false, 6, 3, 4)"
        )
    connection.close()
    check_freshness(settings, "night", DAY + dt.timedelta(days=2))


def test_the_figures_are_those_of_status(monitored: Settings, raw: RawRows, tmp_path: Path) -> None:
    night(monitored, raw)
    state = read_state(monitored, dt.datetime.now(dt.UTC))
    [source] = state.sources
    assert state.last_run and state.last_run.finished_at and state.last_publication and source.as_of
    with serving(monitored, tmp_path) as endpoint:
        shown = endpoint.read()
    midnight = dt.datetime.combine(source.as_of, dt.time(), dt.UTC).timestamp()
    expected = {
        "up": {"": 1},
        "last_success_timestamp_seconds": {"": state.last_run.finished_at.timestamp()},
        "last_run_failed": {"": 0},
        "last_publication_timestamp_seconds": {"": state.last_publication.published_at.timestamp()},
        "source_as_of_timestamp_seconds": {"ecommerce": midnight},
        "source_staleness_days": {"ecommerce": source.staleness_days},
        "source_is_stale": {"ecommerce": float(source.freshness == "stale")},
        "files_loaded": {"ecommerce": source.loaded_files},
        "files_refused": {"ecommerce": source.refused_files},
        "rows_loaded": {"ecommerce": source.rows_loaded},
        "rows_rejected": {"ecommerce": source.rows_rejected},
        "rejects_unresolved": {"ecommerce": source.unresolved_rejects},
        "open_incidents": {"critical": 0, "warning": 0},
        "unsent_alerts": {"": 0},
    }
    size = shown.pop(f"{PREFIX}database_bytes")
    assert size[""] == pytest.approx(state.warehouse_bytes, rel=0.1)
    assert shown == {PREFIX + name: pytest.approx(values) for name, values in expected.items()}
    # What was planted, so that two wrong sides can't agree.
    assert (source.rows_loaded, source.rows_rejected, source.refused_files) == (13, 1, 1)
    assert (source.staleness_days, source.freshness, source.unresolved_rejects) == (2, "stale", 1)


def test_an_incident_and_an_alert_that_waits_are_seen_at_the_next_scrape(
    monitored: Settings, raw: RawRows, owner: db.Connection, tmp_path: Path
) -> None:
    with serving(monitored, tmp_path) as endpoint:
        assert endpoint.read()[f"{PREFIX}open_incidents"] == {"critical": 0, "warning": 0}
        night(monitored, raw, is_success=False)
        nobody = monitored.model_copy(
            update={"smtp_host": "127.0.0.1", "smtp_port": free_port(), "alert_mail_to": "you@example.com"}
        )
        told = evaluate(nobody, "night", task_failures=[TaskFailure("publish")])
        assert told.failed_deliveries
        shown = endpoint.read()
        with owner.cursor() as cursor:
            cursor.execute("select severity, count(*) from ops.incidents group by severity")
            assert shown[f"{PREFIX}open_incidents"] == dict(cursor.fetchall())
            assert shown[f"{PREFIX}open_incidents"]["critical"] >= 1
            cursor.execute("select count(*) from ops.alerts")
            assert shown[f"{PREFIX}unsent_alerts"] == {"": cursor.fetchone()[0]}  # type: ignore[index]
            assert shown[f"{PREFIX}last_run_failed"] == {"": 1}
            assert shown[f"{PREFIX}last_success_timestamp_seconds"] == {}

            cursor.execute("update ops.incidents set closed_at = now()")
            cursor.execute("""update ops.alerts set deliveries = '{"smtp": {"status": "delivered"}}'""")
        shown = endpoint.read()
    assert shown[f"{PREFIX}open_incidents"] == {"critical": 0, "warning": 0}
    assert shown[f"{PREFIX}unsent_alerts"] == {"": 0}


def test_without_a_warehouse_up_is_0_and_the_log_says_why_once(tmp_path: Path) -> None:
    server = EmbeddedPostgres(reachable_folder(tmp_path / "server"), free_port())
    server.start()
    try:
        settings = Settings(_env_file=None, ecommerce_dw_home=tmp_path / "home", warehouse_port=server.port)
        database.prepare(settings)
        with serving(settings, tmp_path) as endpoint:
            assert endpoint.read() == {f"{PREFIX}up": {"": 0}}  # no role, no tables
            migrate(settings)
            shown = endpoint.read()
            assert shown[f"{PREFIX}up"] == {"": 1} and len(shown) == len(FIGURES) + 1
            server.stop()
            for _ in range(3):
                assert endpoint.read() == {f"{PREFIX}up": {"": 0}}
            with urllib.request.urlopen(endpoint.url.replace("/metrics", "/-/healthy")) as answer:
                assert answer.status == 200  # the endpoint is at work, whatever the warehouse does
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(endpoint.url.replace("/metrics", "/anything"))
            server.start()
            assert endpoint.read()[f"{PREFIX}up"] == {"": 1}
    finally:
        server.remove()
    log = endpoint.log.read_text()
    assert log.count("does not answer as analyst") == 2
    assert f"The warehouse ecommerce_dw at 127.0.0.1:{server.port} does not answer" in log
    assert log.count("The warehouse answers again.") == 2 and "Traceback" not in log


def test_a_database_without_tables_is_told_apart(
    settings: Settings, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    empty = settings.model_copy(update={"warehouse_db": "postgres"})
    with serving(empty, tmp_path) as endpoint:
        assert endpoint.read() == {f"{PREFIX}up": {"": 0}}
        assert "has no tables yet: `ecommerce-dw migrate`" in endpoint.log.read_text()


def test_an_address_in_use_is_named(settings: Settings, tmp_path: Path) -> None:
    with serving(settings, tmp_path) as endpoint:
        address = endpoint.url.removeprefix("http://").removesuffix("/metrics")
        program = Path(sys.executable).with_name("ecommerce-dw")
        done = subprocess.run([program, "metrics", "--listen", address], capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith(f"Error: Can't listen on {address}: Address already in use")
        refused = subprocess.run([program, "metrics", "--listen", "9109"], capture_output=True, text=True)
        assert refused.returncode == 2 and "9109 is no address: give HOST:PORT" in refused.stderr


def test_monitor_reads_figures_and_no_row_of_a_shop(monitored: Settings, raw: RawRows) -> None:
    night(monitored, raw)
    assert monitored.metrics_role == "monitor" and read_figures(monitored)
    connection = db.connect("monitor", settings=monitored)
    connection.autocommit = True
    with connection.cursor() as cursor:
        tables = [f"raw.{contract.table}" for contract in raw.contracts["ecommerce"].values()]
        for relation in (*tables, "ops.test_failures", "ops.touched", "ops.expectation_results"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(f"select count(*) from {relation}")
        for columns in (
            "raw_line from raw.rejected_rows",
            "header from raw.load_ledger",
            "body from ops.alerts",
        ):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(f"select {columns}")
        for statement in ("delete from ops.runs", "create table ops.mine ()", "create table public.mine ()"):
            with pytest.raises(psycopg2.Error):
                cursor.execute(statement)
    connection.close()


def test_without_a_password_monitor_cannot_log_in(monitored: Settings) -> None:
    without = monitored.model_copy(update={"monitor_password": SecretStr("")})
    database.set_role_passwords(without)
    with pytest.raises(psycopg2.OperationalError, match=r"not permitted to log in|password"):
        db.connect("monitor", settings=monitored)
    assert without.metrics_role == "analyst"


def test_an_owner_that_is_no_superuser_makes_the_role_and_changes_its_password(tmp_path: Path) -> None:
    server = EmbeddedPostgres(reachable_folder(tmp_path / "server"), free_port())
    server.start()
    try:
        server.execute("create role keeper login createrole password 'keeps'")
        server.execute("create database ecommerce_dw owner keeper")
        settings = settings_for(
            server, "ecommerce_dw", tmp_path, warehouse_user="keeper", warehouse_password=SecretStr("keeps")
        )
        migrate(settings)
        for password in (PASSWORD, "another-one"):
            changed = settings.model_copy(update={"monitor_password": SecretStr(password)})
            database.set_role_passwords(changed)
            assert changed.metrics_role == "monitor" and read_figures(changed)
        # Only an administrator can have a role's statements logged, and without that it is not let in.
        reader = settings.model_copy(update={"pii_reader_password": SecretStr(PASSWORD)})
        with pytest.raises(PlatformError, match="alter role pii_reader set log_statement to 'all';"):
            database.set_role_passwords(reader)
        with pytest.raises(psycopg2.OperationalError, match="not permitted to log in"):
            db.connect("pii_reader", settings=reader)
        server.execute("alter role pii_reader set log_statement to 'all'")
        database.set_role_passwords(reader)
        db.connect("pii_reader", settings=reader).close()
    finally:
        server.remove()


def test_an_upgrade_lets_monitor_read_the_views_that_are_there(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    name = "monitor_upgrade"
    postgres.execute(f"create database {name}")
    settings = settings_for(postgres, name, tmp_path, monitor_password=SecretStr(PASSWORD))
    try:
        migrate_to("0009", settings)
        with db.transaction("transformer", settings=settings) as cursor:
            cursor.execute("create view ops.made_before as select count(*) as runs from ops.runs")
        migrate(settings)  # gives the role its password, too
        with db.transaction("transformer", settings=settings) as cursor:
            cursor.execute("create view ops.made_after as select count(*) as runs from ops.runs")
        with db.transaction("monitor", settings=settings) as cursor:
            cursor.execute("select a.runs, b.runs from ops.made_before as a, ops.made_after as b")
            assert cursor.fetchone() == (0, 0)
    finally:
        postgres.execute(f"drop database {name} with (force)")
        postgres.execute("alter role monitor nologin password null")


def migrate_to(revision: str, settings: Settings) -> None:
    """Bring an empty database to an older revision."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = create_engine(db.sqlalchemy_url("owner", settings=settings))
    with engine.begin() as connection:
        config.attributes |= {"connection": connection, "settings": settings}
        command.upgrade(config, revision)
    engine.dispose()
