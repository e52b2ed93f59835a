"""The commands of docs/production.md that move a warehouse to another server, run between two servers."""

from __future__ import annotations

import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from ecommerce_dw.fingerprint import fingerprint
from ecommerce_dw.platform.configuration import program_environment, write_configuration
from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port, reachable_folder
from ecommerce_dw.publish import publish
from ecommerce_dw.settings import PROJECT_DIR, Settings
from tests.support.dbt_warehouse import DbtWarehouse
from tests.support.two_shops import load_two_shops

pytestmark = pytest.mark.slow

LAYERS = "tag:layer_warehouse tag:layer_marts"


def blocks(language: str) -> list[str]:
    """The page's commands in one language, in their order."""
    page = (PROJECT_DIR / "docs" / "production.md").read_text()
    section = page.split("\n## Moving to a managed PostgreSQL\n")[1].split("\n## ")[0]
    return [textwrap.dedent(text) for text in re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)]


@pytest.fixture
def other_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server as a provider gives it: its administrator is no superuser."""
    server = EmbeddedPostgres(reachable_folder(tmp_path / "server"), free_port(), superuser="provider")
    server.start()
    try:
        server.execute("create role administrator login createrole createdb password 'administrator'")
        yield server
    finally:
        server.remove()


def run(script: str, settings: Settings, folder: Path) -> str:
    """Run commands in a shell with the platform's variables; what they print."""
    write_configuration(settings)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=program_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_moved_warehouse_has_the_same_fingerprint_and_goes_on(
    built_once: DbtWarehouse, other_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    load_two_shops(built_once.reset())
    built_once.run(select=LAYERS)
    publish(built_once.settings)
    built_once.close()
    before = fingerprint(built_once.settings)
    taken, restored = blocks("sh")
    (made,) = blocks("sql")
    run(taken, built_once.settings.model_copy(update={"ecommerce_dw_home": tmp_path / "old"}), tmp_path)
    connection = psycopg2.connect(
        host="127.0.0.1",
        port=other_server.port,
        dbname="postgres",
        user="administrator",
        password="administrator",
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in re.sub(r"--.*", "", made).split(";"):
            if statement.strip():
                cursor.execute(statement.replace("'…'", "'moved'"))
    connection.close()

    moved = Settings(
        _env_file=None,
        ecommerce_dw_home=tmp_path / "new",
        warehouse_host="127.0.0.1",
        warehouse_port=other_server.port,
        warehouse_user="warehouse",
        warehouse_password="moved",
        analyst_password="of the new server",
    )
    told = run(restored, moved, tmp_path)
    assert re.search(rf"^{len(before)} tables are the same, 0 differ\.$", told, re.MULTILINE), told
    assert fingerprint(moved) == before

    # what was built there is known here: a build finds nothing to do, a person everything in its place
    run("ecommerce-dw load && ecommerce-dw build", moved, tmp_path)
    assert fingerprint(moved) == before
    asked = run(
        "psql -U analyst -At -c 'show search_path' -c 'select count(*) > 0 from sales_summary'",
        moved,
        tmp_path,
    )
    assert asked.split("\n")[:2] == ["masked, marts, warehouse, public", "t"]
