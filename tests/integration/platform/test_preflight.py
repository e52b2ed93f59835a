"""What the preflight finds, on a real server, a real mail server, and this machine."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ValidationError

from ecommerce_dw import db
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform import database, preflight
from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port
from ecommerce_dw.platform.preflight import Finding, judge_clock
from ecommerce_dw.settings import PROJECT_DIR, Settings, get_settings
from tests.support.receivers import receiving_mail, receiving_posts

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


@dataclass(frozen=True)
class TlsServer:
    """A PostgreSQL that speaks TLS, on another address than loopback's names."""

    host: str
    port: int
    authority: Path


@pytest.fixture(scope="module")
def tls_server() -> Iterator[TlsServer]:
    """Debian's PostgreSQL with a certificate of its own: the embedded one is built without TLS."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if (
        not programs
        or os.geteuid() != 0
        or shutil.which("setpriv") is None
        or shutil.which("openssl") is None
    ):
        pytest.skip("needs a system's PostgreSQL with TLS, root, setpriv and openssl")
    folder = Path("/var/tmp") / f"ecommerce-dw-tls-{os.getpid()}"
    folder.mkdir()
    data, port, host = folder / "data", free_port(), "127.0.0.2"

    def run(*command: str) -> None:
        as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
        subprocess.run(as_nobody, check=True, capture_output=True, cwd="/", timeout=60)

    try:
        certificate, key = folder / "server.crt", folder / "server.key"
        subprocess.run(
            ["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=warehouse.test",
             "-addext", f"subjectAltName=IP:{host}", "-out", str(certificate), "-keyout", str(key)],
            check=True, capture_output=True,
        )  # fmt: skip
        for path in (folder, certificate, key):
            shutil.chown(path, "nobody", "nogroup")
        key.chmod(0o600)
        run(str(programs[-1] / "initdb"), "-D", str(data), "-U", "warehouse", "-A", "trust")
        options = (
            f"-p {port} -c listen_addresses={host} -c unix_socket_directories={folder} -c ssl=on "
            f"-c ssl_cert_file={certificate} -c ssl_key_file={key}"
        )
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"hostssl all all {host}/32 trust\n")
        run(
            str(programs[-1] / "pg_ctl"), "start", "-w", "-D", str(data), "-o", options, "-l", f"{folder}/log"
        )
        try:
            yield TlsServer(host, port, certificate)
        finally:
            run(str(programs[-1] / "pg_ctl"), "stop", "-m", "immediate", "-D", str(data))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def judged(settings: Settings) -> list[Finding]:
    # Its version is not what these tests are about.
    return [finding for finding in preflight.check_server(settings) if finding.check != "versions"]


def test_the_way_to_another_machine_has_to_be_encrypted_and_checked(
    tls_server: TlsServer, tmp_path: Path
) -> None:
    def settings(mode: str, authority: Path | str = tls_server.authority) -> Settings:
        return Settings(
            _env_file=None,
            ecommerce_dw_home=tmp_path,
            warehouse_host=tls_server.host,
            warehouse_port=tls_server.port,
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
    other = tmp_path / "other.crt"
    subprocess.run(
        ["openssl", "req", "-new", "-x509", "-nodes", "-subj", "/CN=other", "-out", str(other),
         "-keyout", str(tmp_path / "other.key")],
        check=True, capture_output=True,
    )  # fmt: skip
    [finding] = judged(settings("verify-full", other))
    assert finding.check == "server" and "certificate verify failed" in finding.problem


def test_every_way_to_the_warehouse_takes_the_setting(tls_server: TlsServer, tmp_path: Path) -> None:
    from sqlalchemy import create_engine, text

    settings = Settings(
        _env_file=None,
        ecommerce_dw_home=tmp_path,
        warehouse_host=tls_server.host,
        warehouse_port=tls_server.port,
        warehouse_db="postgres",
        warehouse_sslmode="verify-full",
        warehouse_sslrootcert=str(tls_server.authority),
    )
    engine = create_engine(db.sqlalchemy_url(settings=settings))
    with engine.connect() as connection:
        assert connection.execute(text("select ssl from pg_stat_ssl where pid = pg_backend_pid()")).scalar()
    engine.dispose()
    with pytest.raises(Exception, match="certificate verify failed"):
        # The same server under another authority: the setting reaches libpq, or this would connect.
        migrate(settings.model_copy(update={"warehouse_sslrootcert": "system"}))
