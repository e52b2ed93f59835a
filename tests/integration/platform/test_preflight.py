"""What the preflight finds, on a real server, a real mail server, and this machine."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from ecommerce_dw import db
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform import database, preflight
from ecommerce_dw.platform.certificates import make_certificates
from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port
from ecommerce_dw.platform.preflight import Finding, judge_clock
from ecommerce_dw.settings import PROJECT_DIR, Settings, get_settings
from tests.support.receivers import receiving_mail, receiving_posts
from tests.support.tls_server import TlsServer, tls_server

PASSWORDS = {
    "warehouse_password": "owner-of-the-warehouse",
    "loader_password": "loads-what-has-landed",
    "transformer_password": "builds-with-dbt-only",
    "analyst_password": "reads-and-nothing-else",
    "airflow_admin_password": "looks-after-the-dags",
}

_numbers = itertools.count(1)


@pytest.fixture
def owner_of_external(postgres: EmbeddedPostgres) -> Iterator[Callable[[str], str]]:
    """Makes a user of the test's server with the given attributes; its name."""
    made: list[str] = []

    def make(attributes: str) -> str:
        name = f"preflight_{os.getpid()}_{next(_numbers)}"
        postgres.execute(
            f"create role {name} login password '{PASSWORDS['warehouse_password']}' {attributes}"
        )
        made.append(name)
        return name

    yield make
    for name in made:
        postgres.execute(f"drop role {name}")


@pytest.fixture
def complete(
    postgres: EmbeddedPostgres, owner_of_external: Callable[[str], str], tmp_path: Path
) -> Iterator[Settings]:
    """Settings against which nothing stands: the test's server as an external one, and a webhook."""
    (tmp_path / "backups").mkdir()
    (tmp_path / "home").mkdir()
    with receiving_posts() as hook:
        yield Settings(
            _env_file=None,
            ecommerce_dw_home=tmp_path / "home",
            ecommerce_dw_environment="production",
            backup_dir=tmp_path / "backups",
            warehouse_host="127.0.0.1",
            warehouse_port=postgres.port,
            warehouse_user=owner_of_external("createrole createdb"),
            warehouse_db="not_there_yet",
            airflow_db="not_there_either",
            airflow_port=free_port(),
            alert_webhook_url=hook.url,
            **PASSWORDS,
        )
        assert hook.posts == [], "the preflight sends nothing"


def errors(settings: Settings) -> list[tuple[str, str]]:
    return [
        (finding.check, finding.where)
        for finding in preflight.preflight(settings)
        if finding.level == "error" and finding.where != str(PROJECT_DIR / ".env")  # the developer's own
    ]


def changed(settings: Settings, **values: object) -> Settings:
    return Settings(_env_file=None, **settings.model_dump() | values)


def test_the_containers_own_server_needs_no_tls_and_may_be_started_by_the_deployment(
    complete: Settings,
) -> None:
    # An address that is none of this machine's usual ones, as a container's, and nobody listens there.
    absent = changed(complete, warehouse_host="127.0.0.3", warehouse_port=free_port())
    server = "WAREHOUSE_HOST, WAREHOUSE_PORT, WAREHOUSE_USER, WAREHOUSE_PASSWORD"
    assert {("TLS", "WAREHOUSE_SSLMODE=prefer"), ("server", server)} <= set(errors(absent))
    assert errors(changed(absent, warehouse_on_private_network=True)) == []


def test_nothing_stands_against_a_complete_configuration(complete: Settings) -> None:
    findings = preflight.preflight(complete)
    assert [finding for finding in findings if finding.level == "error"] == []
    assert {finding.where for finding in findings} <= {"BACKUP_DIR"}  # the same disk, a warning


@pytest.mark.parametrize(
    ("values", "check", "where"),
    [
        ({"ecommerce_dw_environment": "development"}, "environment", "ECOMMERCE_DW_ENVIRONMENT"),
        ({"airflow_workers": 2}, "environment", "AIRFLOW_WORKERS, REDIS_HOST"),
        ({"airflow_db_host": "127.0.0.1", "airflow_db_port": 1}, "environment", "AIRFLOW_DB_HOST"),
        ({"loader_password": "loader"}, "secrets", "LOADER_PASSWORD"),
        ({"loader_password": ""}, "secrets", "LOADER_PASSWORD"),
        ({"loader_password": "short"}, "secrets", "LOADER_PASSWORD"),
        ({"loader_password": "aaaaaaaaaaaaaaaaaaaa"}, "secrets", "LOADER_PASSWORD"),
        ({"loader_password": PASSWORDS["warehouse_password"]}, "secrets", "LOADER_PASSWORD"),
        ({"airflow_admin_password": "admin"}, "secrets", "AIRFLOW_ADMIN_PASSWORD"),
        ({"monitor_password": "short"}, "secrets", "MONITOR_PASSWORD"),
        ({"monitor_password": PASSWORDS["analyst_password"]}, "secrets", "MONITOR_PASSWORD"),
        ({"smtp_user": "me"}, "secrets", "SMTP_PASSWORD"),
        ({"airflow_url": "http://airflow.example.com"}, "TLS", "AIRFLOW_URL=http://airflow.example.com"),
        ({"alert_webhook_url": "http://hooks.example.com/x"}, "TLS", "ALERT_WEBHOOK_URL"),
        ({"alert_webhook_url": "http://127.0.0.1:9/x"}, "alert channel", "ALERT_WEBHOOK_URL"),
        ({"alert_webhook_url": ""}, "alert channel", "SMTP_HOST and ALERT_MAIL_TO, ALERT_WEBHOOK_URL"),
        ({"smtp_host": "127.0.0.1"}, "alert channel", "SMTP_HOST, ALERT_MAIL_TO"),
        ({"backup_dir": None}, "backup target", "BACKUP_DIR"),
        ({"backup_dir": "/nonexistent"}, "backup target", "BACKUP_DIR"),
        ({"warehouse_host": "", "warehouse_port": 1}, "server", "WAREHOUSE_HOST"),
        ({"warehouse_user": "nobody_of_that_name"}, "server", "WAREHOUSE_HOST, WAREHOUSE_PORT, "
         "WAREHOUSE_USER, WAREHOUSE_PASSWORD"),
    ],
)  # fmt: skip
def test_each_fault_is_found_and_nothing_else(
    complete: Settings, values: dict[str, object], check: str, where: str
) -> None:
    assert errors(changed(complete, **values)) == [(check, where)]


def test_settings_that_are_none_are_findings_too() -> None:
    with pytest.raises(ValidationError) as invalid:
        Settings(_env_file=None, warehouse_port="door", warehouse_sslmode="maybe")
    findings = preflight.invalid_settings(invalid.value)
    assert [finding.where for finding in findings] == ["WAREHOUSE_PORT", "WAREHOUSE_SSLMODE"]
    assert all(finding.level == "error" for finding in findings)


def test_a_port_in_use_is_found(complete: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert errors(changed(complete, airflow_port=port)) == [("ports", "AIRFLOW_PORT")]


def test_too_little_disk_and_memory_are_found(complete: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "ROOM_NEEDED", 10**18)
    monkeypatch.setattr(preflight, "MEMORY_NEEDED", 10**18)
    assert errors(complete) == [("disk", str(complete.home)), ("memory", "this machine")]


def test_an_owner_who_may_not_enough_is_told_the_statement(
    complete: Settings, owner_of_external: Callable[[str], str]
) -> None:
    findings = preflight.preflight(changed(complete, warehouse_user=owner_of_external("")))
    advice = [finding.advice for finding in findings if finding.level == "error"]
    assert len(advice) == 2
    assert advice[0].endswith("createrole;") and advice[1].endswith("createdb;")


def test_a_newer_warehouse_is_no_warehouse_for_this_version(
    settings: Settings, tmp_path: Path, complete: Settings
) -> None:
    warehouse = changed(
        complete,
        warehouse_user=settings.warehouse_user,
        warehouse_password=settings.warehouse_password,
        warehouse_db=settings.warehouse_db,
    )
    known = [finding for finding in preflight.check_server(warehouse) if finding.check == "versions"]
    assert known == []
    with db.transaction(settings=settings) as cursor:
        cursor.execute("update ops.schema_migrations set version_num = '9999'")
    [finding] = [finding for finding in preflight.check_server(warehouse) if finding.check == "versions"]
    assert "9999" in finding.problem


def test_mail_is_tried_without_sending_any(complete: Settings) -> None:
    with receiving_mail() as inbox:
        mail = changed(complete, smtp_host="127.0.0.1", smtp_port=inbox.port, alert_mail_to="a@example.com")
        assert errors(mail) == []
        # This server knows no logins.
        login = changed(mail, smtp_user="me", smtp_password="a-password-of-mine")
        assert errors(login) == [("alert channel", f"SMTP_HOST=127.0.0.1, SMTP_PORT={inbox.port}")]
    assert inbox.mails == []


def test_secret_files_are_looked_at(
    complete: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "loader"
    file.write_text(f"{PASSWORDS['loader_password']}\n")
    file.chmod(0o644)
    monkeypatch.setenv("LOADER_PASSWORD_FILE", str(file))
    assert errors(complete) == [("secrets", str(file))]
    file.chmod(0o600)
    assert errors(complete) == []
    file.write_text("something else that is secret")
    assert errors(complete) == [("secrets", "LOADER_PASSWORD_FILE")]
    file.unlink()
    assert errors(complete) == [("secrets", "LOADER_PASSWORD_FILE")]


def test_a_secret_file_is_read_without_the_line_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "loader"
    file.write_text("from a file\n")
    monkeypatch.delenv("LOADER_PASSWORD", raising=False)
    monkeypatch.setenv("LOADER_PASSWORD_FILE", str(file))
    assert Settings(_env_file=None).loader_password.get_secret_value() == "from a file"
    monkeypatch.setenv("LOADER_PASSWORD", "set directly")
    assert Settings(_env_file=None).loader_password.get_secret_value() == "set directly"
    assert get_settings.__wrapped__().loader_password.get_secret_value() == "set directly"


@pytest.mark.parametrize(("server", "apart"), [(1000.0, 0), (1004.0, 0), (1010.0, 9), (990.0, 10)])
def test_clocks_are_compared_with_what_the_question_took(server: float, apart: int) -> None:
    findings = list(judge_clock(server, 1000.0, 1001.0, "db:5432"))
    assert len(findings) == (1 if apart else 0)
    assert all(f"{apart} s apart" in finding.problem for finding in findings)


# --- TLS ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the platform, for an address that is none of loopback's names."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, ["127.0.0.2"], days=2)
    return folder


@pytest.fixture(scope="module")
def server_with_tls(certificates: Path) -> Iterator[TlsServer]:
    """A server that has these certificates."""
    with tls_server("127.0.0.2") as server:
        server.take(certificates)
        server.start()
        yield server


def judged(settings: Settings) -> list[Finding]:
    # Its version is not what these tests are about.
    return [finding for finding in preflight.check_server(settings) if finding.check != "versions"]


def test_the_way_to_another_machine_has_to_be_encrypted_and_checked(
    server_with_tls: TlsServer, certificates: Path, tmp_path: Path
) -> None:
    def settings(mode: str, authority: Path = certificates / "authority.crt") -> Settings:
        return Settings(
            _env_file=None,
            ecommerce_dw_home=tmp_path,
            warehouse_host=server_with_tls.host,
            warehouse_port=server_with_tls.port,
            warehouse_db="postgres",
            warehouse_sslmode=mode,
            warehouse_sslrootcert=str(authority),
        )

    assert judged(settings("verify-full")) == []
    connection = database.first_connection(settings("verify-full"))
    assert connection.info.ssl_in_use
    connection.close()
    assert [(finding.check, finding.level) for finding in judged(settings("require"))] == [("TLS", "warning")]
    assert [(finding.check, finding.level) for finding in judged(settings("prefer"))] == [("TLS", "error")]
    make_certificates(tmp_path / "other", ["127.0.0.2"], days=2)
    [finding] = judged(settings("verify-full", tmp_path / "other" / "authority.crt"))
    assert finding.check == "server" and "certificate verify failed" in finding.problem


def test_a_certificate_of_our_own_that_ends_soon_is_told_before(
    complete: Settings,
) -> None:
    at = changed(complete, warehouse_host="127.0.0.3", warehouse_port=free_port())  # nobody there

    def told() -> list[str]:
        return [finding.problem for finding in preflight.preflight(at) if finding.level == "warning"]

    folder = at.home / "certificates"
    make_certificates(folder, ["127.0.0.3"], days=40)
    assert not any("certificate ends" in problem for problem in told())
    make_certificates(folder, [], days=20)
    assert any("The server's certificate ends" in problem for problem in told())
    (folder / "authority.crt").unlink()
    assert any("authority.crt can't be read" in problem for problem in told())


def test_every_way_to_the_warehouse_takes_the_setting(
    server_with_tls: TlsServer, certificates: Path, tmp_path: Path
) -> None:
    from sqlalchemy import create_engine, text

    settings = Settings(
        _env_file=None,
        ecommerce_dw_home=tmp_path,
        warehouse_host=server_with_tls.host,
        warehouse_port=server_with_tls.port,
        warehouse_db="postgres",
        warehouse_sslmode="verify-full",
        warehouse_sslrootcert=str(certificates / "authority.crt"),
    )
    engine = create_engine(db.sqlalchemy_url(settings=settings))
    with engine.connect() as connection:
        assert connection.execute(text("select ssl from pg_stat_ssl where pid = pg_backend_pid()")).scalar()
    engine.dispose()
    with pytest.raises(Exception, match="certificate verify failed"):
        # The same server under another authority: the setting reaches libpq, or this would connect.
        migrate(settings.model_copy(update={"warehouse_sslrootcert": "system"}))
