"""The restore drill; what interrupted ones leave; what is kept."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from ecommerce_dw import db
from ecommerce_dw.loading.journal import journal_file
from ecommerce_dw.migrations import head
from ecommerce_dw.platform.backup import DamagedError, back_up, prune_backups, read_backup
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port, reachable_folder
from ecommerce_dw.settings import Settings
from tests.integration.backup.conftest import METADATA, WAREHOUSE, Site
from tests.support.dbt_warehouse import Shop
from tests.support.raw_rows import customer


def load_on(site: Site, enough: threading.Event, loaded: list[int]) -> None:
    """A loader that commits a file of five customers at a time, under the lock that loaders take."""
    with contextlib.closing(db.connect("owner", settings=site.settings)) as connection:
        shop = Shop(connection, site.settings)
        number = 0
        while not enough.is_set():
            number += 1
            rows = [customer(f"N{number}-{n}", "2026-03-07 12:00:00+00") for n in range(5)]
            shop.load("ecommerce", "customers", f"2027-01-{number % 28 + 1:02}", rows, part=f".{number}")
            with connection.cursor() as cursor:
                cursor.execute("select pg_advisory_xact_lock_shared(%s)", (db.TRANSFORM_LOCK,))
            connection.commit()
            loaded.append(number)


@pytest.mark.slow
def test_backup_while_a_loader_commits_restores_to_equal_fingerprints(
    built_site: Site, figure: Callable[..., None]
) -> None:
    site = built_site
    before = site.fingerprint()
    enough, loaded = threading.Event(), []
    loader = threading.Thread(target=load_on, args=(site, enough, loaded))
    loader.start()
    try:
        while len(loaded) < 3:
            time.sleep(0.01)
        first = len(loaded)
        taken = site.back_up()
        assert len(loaded) > first, "nothing was loaded while the backup was taken"
    finally:
        enough.set()
        loader.join()
    part = taken.manifest.databases["warehouse"]
    tables = {(table.schema, table.table): table for table in part.tables}
    assert {"raw", "ops", "warehouse", "marts_build", "marts"} <= {schema for schema, _ in tables}
    # one moment: each file of the ledger has its five rows, and there came more afterwards
    customers, files = tables["raw", "ecommerce__customers"].rows, tables["raw", "load_ledger"].rows
    assert customers > 6 and (customers - 6) % 5 == 0
    assert files < site.execute("select count(*) from raw.load_ledger")[0][0]

    shown = site.ask("select * from sales_summary order by 1, 2, 3")
    site.execute("drop schema warehouse cascade; drop schema marts cascade; delete from ops.touched")
    site.execute("delete from dag_run", metadata=True)
    started = time.monotonic()
    done = site.restore(taken.folder)
    figure(
        "time to restore, in seconds",
        f"a built warehouse of {done.tables} tables",
        time.monotonic() - started,
    )

    assert site.fingerprint() == before
    assert site.execute("select count(*) from raw.load_ledger") == [(files,)]
    assert site.execute("select count(*) from raw.ecommerce__customers") == [(customers,)]
    assert site.execute("select run_id, conf from dag_run order by 1", metadata=True) == [
        ("scheduled__1", {"a": 1}),
        ("scheduled__2", None),
    ]
    assert done.tables == sum(len(each.tables) for each in taken.manifest.databases.values())
    # people find everything in its place, and may do what they might
    assert site.ask("show search_path") == [("masked, marts, warehouse, public",)]
    assert site.ask("select * from sales_summary order by 1, 2, 3") == shown
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        site.ask("create table marts.mine (a int)")
    # the former state is kept under another name, with what was lost in it
    assert set(done.kept) == {WAREHOUSE, METADATA}
    assert site.databases() == {WAREHOUSE, METADATA, *done.kept.values()}


def test_restored_warehouse_goes_on_loading(site: Site) -> None:
    """Sequences, identities and rights of the loader are there, too."""
    site.restore(site.back_up().folder)
    greatest = site.execute("select max(file_id), max(load_id) from raw.load_ledger")[0]
    with contextlib.closing(db.connect("loader", settings=site.settings)) as connection:
        connection.autocommit = True
        Shop(connection, site.settings).load(
            "ecommerce", "customers", "2026-03-08", [customer("C9", "2026-03-08 12:00:00+00")]
        )
    later = site.execute("select max(file_id), max(load_id) from raw.load_ledger")[0]
    assert later[0] > greatest[0] and later[1] > greatest[1]


def test_everything_is_restored_where_the_databases_are_lost(site: Site) -> None:
    site.decide("orders/dt=2026-03-05/orders.csv", "before")
    before = site.state()
    taken = site.back_up()
    for name in (WAREHOUSE, METADATA):
        site.server.execute(f"drop database {name} with (force)")
    journal_file(site.settings).unlink()
    done = site.restore(taken.folder, is_agreed=False)
    assert site.state() == before
    assert not done.kept
    assert (done.decisions_added, done.later_decisions) == (1, 0)


@pytest.fixture
def managed(site: Site, tmp_path: Path) -> Iterator[Site]:
    """The same installation on an empty server whose owner is no superuser."""
    server = EmbeddedPostgres(reachable_folder(tmp_path / "server"), free_port(), superuser="provider")
    server.start()
    try:
        server.execute("create role warehouse login createrole createdb password 'managed'")
        moved = {
            "ecommerce_dw_home": tmp_path / "new home",
            "warehouse_host": "127.0.0.1",
            "warehouse_port": server.port,
            "warehouse_password": "managed",
        }
        yield Site(Settings(_env_file=None, **site.settings.model_dump() | moved), server)
    finally:
        server.remove()


def test_a_server_that_knows_neither_roles_nor_databases_gets_everything(site: Site, managed: Site) -> None:
    taken = site.back_up()
    managed.restore(taken.folder, is_agreed=False)
    assert managed.fingerprint() == site.fingerprint()
    assert managed.ask("show search_path") == [("masked, marts, warehouse, public",)]
    rights = """
        select
            n.nspname, c.relname, c.relowner::regrole::text,
            array(select entry from unnest(c.relacl::text[]) as entry order by 1)
        from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1, 2
    """
    assert managed.execute(rights) == site.execute(rights)
    defaults = """
        select
            defaclrole::regrole::text,
            array(select entry from unnest(defaclacl::text[]) as entry order by 1)
        from pg_default_acl order by 1, 2
    """
    assert managed.execute(defaults) == site.execute(defaults)


def test_nothing_of_a_newer_journal_is_lost(site: Site) -> None:
    journal = journal_file(site.settings)
    journal.parent.mkdir(parents=True)

    def line(path: str, at: str) -> str:
        entry = {
            "decision": "discard",
            "source": "s",
            "path": path,
            "sha256": "0",
            "at": at,
            "by": "x",
            "reason": "",
        }
        return json.dumps(entry) + "\n"

    common, of_backup, later = (
        line("a", "2026-01-01T00:00:00+00:00"),
        line("b", "2026-01-02T00:00:00+00:00"),
        line("c", "2999-01-03T00:00:00+00:00"),
    )
    journal.write_text(common + of_backup)
    taken = site.back_up()
    journal.write_text(common + later)
    done = site.restore(taken.folder)
    assert journal.read_text() == common + of_backup + later
    assert (done.decisions_added, done.later_decisions) == (1, 1)
    site.restore(taken.folder)
    assert journal.read_text() == common + of_backup + later, "again changes nothing"


def test_files_are_their_owners_alone_and_no_password_is_in_them(site: Site) -> None:
    taken = site.back_up()
    for path in [taken.folder, *taken.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert {path.name for path in taken.folder.parent.iterdir()} == {taken.folder.name}
    manifest = json.loads((taken.folder / "manifest.json").read_text())
    assert manifest["databases"]["warehouse"]["revision"] == head()
    schemas = {table["schema"] for table in manifest["databases"]["warehouse"]["tables"]}
    assert schemas == {"raw", "ops", "warehouse", "marts"}


def test_the_former_state_is_dropped_when_asked(site: Site) -> None:
    done = site.restore(site.back_up().folder, drop_old=True)
    assert site.databases() == {WAREHOUSE, METADATA}
    assert set(done.dropped) == {WAREHOUSE, METADATA} and not done.kept


def test_people_who_are_connected_are_sent_away(site: Site) -> None:
    taken = site.back_up()
    with (
        contextlib.closing(db.connect("analyst", settings=site.settings)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("select 1")
        site.restore(taken.folder)
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("select 1")


# --- interrupted -------------------------------------------------------------------------------------------


def test_an_interrupted_restore_leaves_what_was_there(site: Site) -> None:
    taken = site.back_up()
    site.execute("delete from marts.sales_summary")
    before = site.state()

    def interrupt() -> None:
        assert len(site.databases()) == 4
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        site.restore(taken.folder, before_swap=interrupt)
    assert site.state() == before


_RESTORE = """
import os, signal, sys
from pathlib import Path
from rich.console import Console
from ecommerce_dw.platform.restore import restore
from ecommerce_dw.settings import Settings
restore(Settings(_env_file=None), Path(sys.argv[1]), Console(quiet=True), is_agreed=True,
        before_swap=lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_killed_restore_leaves_what_was_there_and_the_next_one_tidies_up(site: Site) -> None:
    taken = site.back_up()
    lost = site.fingerprint()
    site.execute("delete from marts.sales_summary")
    now = site.fingerprint()
    done = subprocess.run(
        [sys.executable, "-c", _RESTORE, str(taken.folder)],
        env=os.environ | site.settings.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert site.fingerprint() == now
    assert site.databases() == {WAREHOUSE, METADATA, f"{WAREHOUSE}_restore_1", f"{METADATA}_restore_1"}
    again = site.restore(taken.folder)
    assert site.fingerprint() == lost
    assert site.databases() == {WAREHOUSE, METADATA, *again.kept.values()}


def test_a_database_of_somebody_else_is_not_taken_for_a_leftover(site: Site) -> None:
    site.server.execute(f"create database {WAREHOUSE}_restore_1")
    site.restore(site.back_up().folder, drop_old=True)
    assert site.databases() == {WAREHOUSE, METADATA, f"{WAREHOUSE}_restore_1"}


_BACK_UP = """
import os, signal, sys
from pathlib import Path
from ecommerce_dw.platform import backup
from ecommerce_dw.settings import Settings
backup.server_number = lambda settings: os.kill(os.getpid(), signal.SIGKILL)
backup.back_up(Settings(_env_file=None), Path(sys.argv[1]))
"""


def test_a_killed_backup_is_no_backup_and_the_next_one_removes_it(site: Site) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BACK_UP, str(site.folder("killed"))],
        env=os.environ | site.settings.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = site.folder("").iterdir()
    assert left.name.startswith(".") and (left / "warehouse" / "toc.dat").exists()
    with pytest.raises(DamagedError, match="not finished"):
        read_backup(left)
    taken = site.back_up()
    assert [path.name for path in site.folder("").iterdir()] == [taken.folder.name]


def test_a_backup_that_fails_leaves_nothing(site: Site) -> None:
    before = site.state()
    site.execute("create role nobody_reads; create schema hidden authorization nobody_reads")
    try:
        broken = site.settings.model_copy(
            update={"warehouse_user": "loader", "warehouse_password": site.settings.loader_password}
        )
        with pytest.raises(PlatformError, match="could not be dumped"):
            back_up(broken, site.folder("x"), has_metadata=False)
    finally:
        site.execute("drop schema hidden; drop role nobody_reads")
    assert not any(site.folder("").iterdir())
    assert site.state() == before


def test_a_folder_that_is_there_is_not_overwritten(site: Site) -> None:
    taken = site.back_up()
    written = {path: path.stat().st_mtime_ns for path in taken.folder.rglob("*")}
    with pytest.raises(PlatformError, match="is there already"):
        site.back_up()
    assert {path: path.stat().st_mtime_ns for path in taken.folder.rglob("*")} == written


# --- kept --------------------------------------------------------------------------------------------------


def test_only_the_newest_dated_backups_are_kept(site: Site) -> None:
    one = site.back_up("named by a person")
    days = [dt.date(2026, 1, day) for day in range(1, 6)]
    for day in days:
        shutil.copytree(one.folder, site.folder(f"{WAREHOUSE}-{day:%Y%m%d}T030000Z"))
    (site.folder(f"{WAREHOUSE}-20260101T030000Z") / "manifest.json").write_text("{")
    settings = site.settings.model_copy(update={"backup_keep": 2})
    assert prune_backups(settings) == [f"{WAREHOUSE}-2026010{day}T030000Z" for day in (2, 3)]
    assert {path.name for path in site.folder("").iterdir()} == {
        "named by a person",
        f"{WAREHOUSE}-20260101T030000Z",  # can't be read: a person has to look
        f"{WAREHOUSE}-20260104T030000Z",
        f"{WAREHOUSE}-20260105T030000Z",
    }


def test_without_a_place_for_backups_it_says_so(site: Site) -> None:
    with pytest.raises(PlatformError, match="set BACKUP_DIR, or name a folder"):
        back_up(site.settings.model_copy(update={"backup_dir": None}))
    assert back_up(site.settings).folder.parent == site.settings.backup_dir
