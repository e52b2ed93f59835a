"""An external PostgreSQL: what is checked before anything is made there."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from ecommerce_dw import db
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform import database
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.postgres import (
    SETTINGS_FILE,
    EmbeddedPostgres,
    PostgresError,
    free_port,
    reachable_folder,
)
from ecommerce_dw.settings import Settings

_numbers = itertools.count(1)


@pytest.fixture
def external(postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[Callable[[str], Settings]]:
    """Makes a user with the given attributes; the settings that name this server as an external one."""
    made: list[str] = []

    def make(attributes: str, **values: object) -> Settings:
        name = f"owner_{os.getpid()}_{next(_numbers)}"
        postgres.execute(f"create role {name} login password 'secret' {attributes}")
        made.append(name)
        return Settings(
            _env_file=None,
            **{
                "ecommerce_dw_home": tmp_path,
                "warehouse_host": "127.0.0.1",
                "warehouse_port": postgres.port,
                "warehouse_user": name,
                "warehouse_password": "secret",
                "warehouse_db": f"dw_{name}",
                "airflow_db": f"airflow_{name}",
            }
            | values,
        )

    yield make
    for name in made:
        for prefix in ("dw_", "airflow_"):
            postgres.execute(f"drop database if exists {prefix}{name} with (force)")
        postgres.execute(f"drop owned by {name} cascade")
        postgres.execute(f"drop role {name}")


def databases(postgres: EmbeddedPostgres) -> set[str]:
    connection = psycopg2.connect(
        host="127.0.0.1", port=postgres.port, dbname="postgres", user="warehouse", password="warehouse"
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("select datname from pg_database")
        names = {row[0] for row in cursor}
    connection.close()
    return names


def test_user_who_may_make_roles_and_databases_gets_both(
    postgres: EmbeddedPostgres, external: Callable[..., Settings]
) -> None:
    settings = external("createrole createdb")
    assert database.prepare(settings).startswith("18")
    assert {settings.warehouse_db, settings.airflow_db} <= databases(postgres)
    assert database.prepare(settings).startswith("18"), "it may be done again"


def test_databases_made_by_an_administrator_do_as_well(
    postgres: EmbeddedPostgres, external: Callable[..., Settings]
) -> None:
    settings = external("createrole nocreatedb")
    for name in (settings.warehouse_db, settings.airflow_db):
        postgres.execute(f"create database {name} owner {settings.warehouse_user}")
    database.prepare(settings)


def test_user_who_may_not_make_roles_is_told_the_statement(
    postgres: EmbeddedPostgres, external: Callable[..., Settings]
) -> None:
    settings = external("nocreaterole createdb")
    before = databases(postgres)
    with pytest.raises(PlatformError, match=f"alter role {settings.warehouse_user} createrole;"):
        database.prepare(settings)
    assert databases(postgres) == before


def test_user_who_may_not_make_databases_is_told_the_statement(external: Callable[..., Settings]) -> None:
    settings = external("createrole nocreatedb")
    with pytest.raises(PlatformError, match=f"create database {settings.warehouse_db} owner"):
        database.prepare(settings)


def test_user_who_may_not_make_schemas_is_told_the_statement(
    postgres: EmbeddedPostgres, external: Callable[..., Settings]
) -> None:
    settings = external("createrole nocreatedb")
    for name in (settings.warehouse_db, settings.airflow_db):
        postgres.execute(f"create database {name}")
    with pytest.raises(PlatformError, match=f"alter database {settings.warehouse_db} owner to"):
        database.prepare(settings)


def test_wrong_password_names_the_settings(external: Callable[..., Settings]) -> None:
    settings = external("createrole createdb", warehouse_password="wrong")
    with pytest.raises(PlatformError, match=r"password authentication failed(.|\n)*WAREHOUSE_PASSWORD"):
        database.prepare(settings)


def test_server_that_does_not_answer_names_the_settings(external: Callable[..., Settings]) -> None:
    settings = external("createrole createdb", warehouse_port=free_port())
    with pytest.raises(PlatformError, match=r"refused(.|\n)*WAREHOUSE_HOST, WAREHOUSE_PORT"):
        database.prepare(settings)


def test_older_server_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    programs = sorted(Path("/usr/lib/postgresql").glob("1[0-7]/bin"))
    if not programs:
        pytest.skip("no older PostgreSQL on this machine")
    folder = Path("/tmp") / f"ecommerce-dw-old-{os.getpid()}"
    port = free_port()
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    (tmp_path / "password").write_text("warehouse")
    shutil.copy(tmp_path / "password", folder / "password")
    (folder / "password").chmod(0o644)
    user = "nobody" if os.geteuid() == 0 else None

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=folder, user=user, stdout=subprocess.DEVNULL, timeout=60)

    data = str(folder / "data")
    try:
        run(str(programs[-1] / "initdb"), "-D", data, "-U", "warehouse", "--auth=scram-sha-256",
            f"--pwfile={folder / 'password'}")  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        run(str(programs[-1] / "pg_ctl"), "start", "-w", "-D", data, "-o", options, "-l", str(folder / "log"))
        settings = Settings(_env_file=None, warehouse_host="127.0.0.1", warehouse_port=port)
        with pytest.raises(PlatformError, match=r"is version 1\d; 18 or newer is needed"):
            database.prepare(settings)
        run(str(programs[-1] / "pg_ctl"), "stop", "-m", "immediate", "-D", data)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_changed_role_password_takes_effect(settings: Settings) -> None:
    changed = settings.model_copy(update={"analyst_password": type(settings.analyst_password)("another")})
    with pytest.raises(psycopg2.OperationalError):
        db.connect("analyst", settings=changed)
    database.set_role_passwords(changed)
    try:
        db.connect("analyst", settings=changed).close()
    finally:
        database.set_role_passwords(settings)
    assert migrate(settings)


def test_embedded_server_moves_to_another_port(tmp_path: Path) -> None:
    folder = reachable_folder(tmp_path / "server")
    first = EmbeddedPostgres(folder, free_port())
    first.start()
    try:
        assert first.running_port() == first.port
        second = EmbeddedPostgres(folder, free_port())
        second.start()
        assert second.running_port() == second.port
        second.execute("select 1")
    finally:
        first.remove()
    assert first.running_port() is None


def test_embedded_server_names_the_setting_of_a_port_in_use(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    other = EmbeddedPostgres(reachable_folder(tmp_path / "server"), postgres.port)
    try:
        with pytest.raises(PostgresError, match=rf"{postgres.port}(.|\n)*WAREHOUSE_PORT"):
            other.start()
    finally:
        other.remove()


def test_every_setting_of_the_file_for_other_servers_applies_to_the_embedded_one(tmp_path: Path) -> None:
    said = dict(
        re.fullmatch(r"(\w+) = (.+)", line).groups()  # type: ignore[union-attr]
        for line in SETTINGS_FILE.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    # what a server is given of its own outweighs the file
    server = EmbeddedPostgres(reachable_folder(tmp_path / "server"), free_port(), settings=(("jit", "on"),))
    try:
        server.start()
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=server.port,
            dbname="postgres",
            user=server.superuser,
            password=server.password,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "select sourcefile, name, setting, applied, error from pg_file_settings order by seqno"
            )
            lines = cursor.fetchall()
            cursor.execute("select lower(name), current_setting(name) from pg_settings")
            values = dict(cursor.fetchall())
        connection.close()
    finally:
        server.remove()
    assert [line for line in lines if line[-1] is not None] == []
    of_the_file = {
        name: applied for source, name, _, applied, _ in lines if source.endswith("/analytics.conf")
    }
    assert of_the_file == dict.fromkeys(said, True) | {"jit": False}
    expected = {name: value.strip("'") for name, value in said.items()} | {"jit": "on"}
    assert {name: values[name] for name in said} == expected
    assert (values["wal_level"], values["max_wal_senders"]) == ("minimal", "0")
