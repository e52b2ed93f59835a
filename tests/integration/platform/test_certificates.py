"""Certificates of our own, on a real PostgreSQL with TLS: who is let in, and who notices a change of them."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from click.testing import CliRunner

from ecommerce_dw import db
from ecommerce_dw.cli import main
from ecommerce_dw.platform.certificates import read_certificates
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.settings import Settings
from tests.support.tls_server import TlsServer, tls_server


@pytest.fixture
def server() -> Iterator[TlsServer]:
    """Not started: it has no certificate yet."""
    with tls_server() as made:
        yield made


Connect = Callable[..., psycopg2.extensions.connection]


@pytest.fixture
def connect(server: TlsServer) -> Iterator[Connect]:
    """Connects as the platform does, and proves that the way is encrypted."""
    opened: list[psycopg2.extensions.connection] = []

    def connect_(authority: Path, host: str = "localhost") -> psycopg2.extensions.connection:
        settings = Settings(
            _env_file=None,
            warehouse_host=host,
            warehouse_port=server.port,
            warehouse_db="postgres",
            warehouse_sslmode="verify-full",
            warehouse_sslrootcert=str(authority),
        )
        opened.append(db.connect("owner", settings=settings))
        assert is_encrypted(opened[-1])
        return opened[-1]

    yield connect_
    for connection in opened:
        connection.close()


def is_encrypted(connection: psycopg2.extensions.connection) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
        return cursor.fetchone() == (True,)


def reload_certificate(connection: psycopg2.extensions.connection) -> None:
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.execute("select pg_reload_conf()")
        cursor.execute("select pg_sleep(0.5)")  # it reads them in its own time


def certificates(*arguments: str, exit_code: int = 0) -> str:
    done = CliRunner().invoke(main, ["certificates", *arguments])
    assert done.exit_code == exit_code, done.output
    return done.output


def test_only_the_named_server_of_the_trusted_authority_is_talked_to(
    server: TlsServer, connect: Connect, tmp_path: Path
) -> None:
    folder = tmp_path / "certificates"
    said = certificates(str(folder), "--host", "localhost", "--host", "db.example.com")
    assert "certificate is for localhost, db.example.com, until" in said
    for name, mode in (("server.key", 0o600), ("authority.key", 0o600), ("authority.crt", 0o644)):
        assert stat.S_IMODE((folder / name).stat().st_mode) == mode
    server.take(folder)
    server.start()
    connect(folder / "authority.crt")

    with pytest.raises(psycopg2.OperationalError, match=r"does not match host name|127\.0\.0\.1"):
        connect(folder / "authority.crt", host="127.0.0.1")  # the certificate does not name it
    certificates(str(tmp_path / "other"), "--host", "localhost")
    with pytest.raises(psycopg2.OperationalError, match="certificate verify failed"):
        connect(tmp_path / "other" / "authority.crt")


def test_a_certificate_is_renewed_under_sessions_and_clients_notice_nothing(
    server: TlsServer, connect: Connect, tmp_path: Path
) -> None:
    certificates(str(tmp_path), "--host", "localhost")
    server.take(tmp_path)
    server.start()
    kept = (tmp_path / "authority.crt").read_bytes()
    session = connect(tmp_path / "authority.crt")
    before = (tmp_path / "server.crt").read_bytes()

    certificates(str(tmp_path), "--days", "30")  # for the same hosts
    assert (tmp_path / "server.crt").read_bytes() != before
    server.take(tmp_path)
    reload_certificate(session)
    connect(tmp_path / "authority.crt")
    assert is_encrypted(session), "the session before goes on"
    assert (tmp_path / "authority.crt").read_bytes() == kept


def test_a_new_authority_in_three_steps_shuts_nobody_out(
    server: TlsServer, connect: Connect, tmp_path: Path
) -> None:
    folder, client = tmp_path / "certificates", tmp_path / "client.crt"
    certificates(str(folder), "--host", "localhost")
    server.take(folder)
    server.start()
    shutil.copyfile(folder / "authority.crt", tmp_path / "forgotten.crt")
    shutil.copyfile(folder / "authority.crt", client)
    session = connect(client)

    said = certificates(str(folder), "--drop-old-authority", exit_code=1)
    assert "There is no old authority. Nothing was changed." in said
    certificates(str(folder), "--new-authority")
    said = certificates(str(folder), "--new-authority", exit_code=1)
    assert "two authorities already" in said
    connect(client)
    shutil.copyfile(folder / "authority.crt", client)
    connect(client)  # trusts both, the server is still by the old one
    said = certificates(str(folder), "--drop-old-authority", exit_code=1)
    assert "still by the old authority" in said

    certificates(str(folder))
    server.take(folder)
    reload_certificate(session)
    connect(client)
    with pytest.raises(psycopg2.OperationalError, match="certificate verify failed"):
        connect(tmp_path / "forgotten.crt")  # who did not get the new authority
    certificates(str(folder), "--drop-old-authority")
    shutil.copyfile(folder / "authority.crt", client)
    connect(client)
    made = read_certificates(folder)
    assert made is not None and len(made.authorities_until) == 1


def test_what_cannot_be_is_told_and_changes_nothing(tmp_path: Path) -> None:
    said = certificates(str(tmp_path / "none"), exit_code=1)
    assert "There is no certificate to renew: say with --host" in said
    assert not (tmp_path / "none").exists()
    assert "steps of their own" in certificates(str(tmp_path), "--host", "a", "--new-authority", exit_code=2)
    assert "no certificates in" in certificates(str(tmp_path), "--new-authority", exit_code=1)

    certificates(str(tmp_path), "--host", "localhost")
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "before a certificate of 5000 days would" in certificates(
        str(tmp_path), "--days", "5000", exit_code=1
    )
    (tmp_path / "authority.key").write_bytes(b"broken")
    said = certificates(str(tmp_path), exit_code=1)
    assert "authority.key can't be read" in said
    (tmp_path / "authority.key").write_bytes(files["server.key"])
    assert "is not the key of the first certificate" in certificates(str(tmp_path), exit_code=1)
    assert (tmp_path / "server.crt").read_bytes() == files["server.crt"]


@pytest.mark.parametrize("host", ["", "db.example.com:5432", "a,b", "[::1]", "dätabase", "https://db", "a b"])
def test_what_is_no_host_gets_no_certificate(tmp_path: Path, host: str) -> None:
    folder = tmp_path / "new"
    said = certificates(str(folder), "--host", "localhost", "--host", host, exit_code=1)
    assert "neither the name of a host" in said
    assert not folder.exists()


def test_hosts_of_each_kind_are_those_of_the_renewed_certificate(tmp_path: Path) -> None:
    hosts = ("db_1", "*.example.com", f"{'a' * 60}.{'b' * 60}.example.com", "::1", "10.0.0.1")
    said = certificates(str(tmp_path), *(part for host in hosts for part in ("--host", host)))
    assert ", ".join(hosts) in said
    assert ", ".join(hosts) in certificates(str(tmp_path))


@pytest.mark.parametrize("days", ["3650", "4000000", "9999999999999"])
def test_a_first_certificate_that_outlasts_any_authority_is_not_made(tmp_path: Path, days: str) -> None:
    said = certificates(str(tmp_path / "new"), "--host", "localhost", "--days", days, exit_code=1)
    assert f"before a certificate of {days} days would" in said
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = certificates(str(tmp_path / "file" / "certificates"), "--host", "localhost", exit_code=1)
    assert f"{tmp_path}/file" in said


def test_certificates_of_others_in_the_folder_are_told_of(tmp_path: Path) -> None:
    """A chain is read by its first; one without names (an authority's) was not made here."""
    certificates(str(tmp_path), "--host", "localhost")
    server, authority = (tmp_path / "server.crt").read_bytes(), (tmp_path / "authority.crt").read_bytes()
    (tmp_path / "server.crt").write_bytes(server + authority)
    made = read_certificates(tmp_path)
    assert made is not None and made.hosts == ("localhost",)
    (tmp_path / "server.crt").write_bytes(authority)
    with pytest.raises(PlatformError, match=r"server\.crt names no host"):
        read_certificates(tmp_path)
