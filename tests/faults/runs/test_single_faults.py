"""One fault at a time: what the run says, and that a plain rerun ends as an undisturbed run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecommerce_dw import db
from ecommerce_dw.platform.postgres import SERVER_USER
from tests.faults.runs.network import BreakingProxy
from tests.faults.runs.shop import DATABASE, STEPS, Shop

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def person(shop: Shop, *statements: str) -> Iterator[db.Connection]:
    """Somebody at a shell, in the middle of a transaction."""
    connection = db.connect(settings=shop.settings, application_name="a person")
    with contextlib.closing(connection), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        yield connection


# ---- the network ---------------------------------------------------------------------------------------


@pytest.mark.fault("connection reset")
@pytest.mark.parametrize(
    ("step", "texts", "more"),
    [
        ("load", [b"copy raw."], 0),
        ("load", [b"copy raw."], 2000),
        ("load", [b"load_id_seq", b"commit"], 0),
        ("build_warehouse", [b"insert into"], 0),
        ("build_marts", [b"marts_build", b"commit"], 0),
        ("publish", [b"insert into"], 0),
        ("publish", [b"ops.publications", b"commit"], 0),
    ],
)
def test_a_connection_that_is_reset_breaks_the_step_and_nothing_else(
    shop: Shop, step: str, texts: list[bytes], more: int
) -> None:
    """In a COPY, in a statement, and after a COMMIT whose answer never comes."""
    shop.reset(step)
    with BreakingProxy(shop.server.port, texts, more) as proxy:
        error = shop.fail(step, settings={"warehouse_port": proxy.port})
        assert proxy.has_broken
    assert any(text in error for text in ("server closed the connection", "Connection reset", "EOF")), error
    shop.assert_rerun_heals()


# ---- locks ---------------------------------------------------------------------------------------------


@pytest.mark.fault("long lock on a table")
@pytest.mark.parametrize(
    ("step", "table", "setting", "says"),
    [
        ("load", "raw.ecommerce__orders", "lock_wait_seconds", "The load waited longer than 0.6 s"),
        ("load", "raw.load_ledger", "lock_wait_seconds", "The load waited longer than 0.6 s"),
        ("build_warehouse", "warehouse.fact_orders", "lock_wait_seconds", "in use for longer than"),
        ("publish", "marts.customer_summary", "table_lock_wait_seconds", "in use for more than 0.6 s"),
    ],
)
def test_a_table_that_somebody_has_locked_is_waited_for_and_its_holder_named(
    shop: Shop, step: str, table: str, setting: str, says: str
) -> None:
    shop.reset(step)
    with person(shop, f"lock table {table} in share mode"):
        started = time.monotonic()
        error = shop.fail(step, settings={setting: 0.6})
        assert time.monotonic() - started < 60
    assert says in error
    assert "(warehouse, a person) since " in error and table in error
    shop.assert_rerun_heals()


@pytest.mark.fault("long lock on a file")
def test_a_file_that_another_loader_has_is_waited_for_and_its_holder_named(shop: Shop) -> None:
    from ecommerce_dw.loading.ledger import path_lock

    path = "orders/dt=2026-02-01/orders.csv"
    with person(shop, f"select pg_advisory_lock({path_lock('ecommerce', path)})"):
        error = shop.fail("load", settings={"lock_wait_seconds": 0.6})
    said = r"The file orders/\S+ or another of its batch was not free .* by: a person \(pid \d+, since \d"
    assert re.search(said, error), error
    shop.assert_rerun_heals()


@pytest.mark.fault("long lock of the platform")
@pytest.mark.parametrize(
    ("lock", "name", "step"),
    [
        (db.LOAD_ID_LOCK, "lock of the load ids", "load"),
        (db.TRANSFORM_LOCK, "transform lock", "load"),
        (db.RUN_LOCK, "run lock", "load"),
        (db.TRANSFORM_LOCK, "transform lock", "build_warehouse"),
        (db.RECONCILIATION_LOCK, "lock of the reconciliation", "publish"),
    ],
)
def test_a_lock_of_the_platform_is_waited_for_and_its_holder_named(
    shop: Shop, lock: int, name: str, step: str
) -> None:
    shop.reset(step)
    with person(shop, f"select pg_advisory_lock({lock})"):
        error = shop.fail(step, settings={"lock_wait_seconds": 0.6})
    assert f"The {name} was not free within 600ms. Held by: a person (pid " in error
    shop.assert_rerun_heals()


@pytest.mark.fault("deadlock")
def test_a_deadlock_ends_one_of_both_and_a_load_tries_once_more(shop: Shop) -> None:
    # The load looks for a circle after 3 s, when there is one; the person never does.
    shop.query(f"alter role loader in database {DATABASE} set deadlock_timeout to '3s'")
    ours = ("set deadlock_timeout to '10min'", "lock table raw.load_ledger in share row exclusive mode")
    with person(shop, *ours) as connection:
        order = shop.order("load")
        loading = threading.Thread(target=shop.victims.run, args=(order,))
        loading.start()
        waiting = "select 1 from pg_locks where not granted and relation = 'raw.load_ledger'::regclass"
        deadline = time.monotonic() + 30
        while not shop.query(waiting) and time.monotonic() < deadline:
            time.sleep(0.02)
        ((table,),) = shop.query(
            "select distinct c.oid::regclass::text from pg_locks as l "
            "join pg_class as c on c.oid = l.relation and c.relkind = 'r' "
            "where l.mode = 'RowExclusiveLock' and c.relname like 'ecommerce%'"
        )
        with connection.cursor() as cursor:
            cursor.execute(f"lock table {table} in exclusive mode")  # which the load has, and waits for us
        connection.rollback()
        loading.join()
    assert shop.query("select deadlocks from pg_stat_database where datname = current_database()") == [(1,)]
    shop.take(*STEPS[1:])
    shop.assert_undisturbed()


@pytest.mark.fault("statement timeout")
@pytest.mark.parametrize(
    ("step", "role", "table"),
    [
        ("load", "loader", "raw.ecommerce__orders"),
        ("build_marts", "transformer", "marts_build.customer_summary"),
        ("publish", "transformer", "marts.customer_summary"),
    ],
)
def test_a_statement_that_the_server_ends_for_its_time_breaks_the_step_alone(
    shop: Shop, step: str, role: str, table: str
) -> None:
    shop.reset(step)
    shop.query(f"alter role {role} in database {DATABASE} set statement_timeout to '900ms'")
    with person(shop, f"lock table {table} in share mode"):
        error = shop.fail(step)
    assert "canceling statement due to statement timeout" in error
    shop.query(f"alter role {role} in database {DATABASE} reset statement_timeout")
    shop.assert_rerun_heals()


# ---- two runs ------------------------------------------------------------------------------------------


@pytest.mark.fault("two runs of the same day")
@pytest.mark.parametrize("other", ["disturbed", "another"])
def test_two_runs_of_the_same_day_at_once_end_as_one(shop: Shop, other: str) -> None:
    """Two of one name (a task that is thought dead goes on) may fail: they share a row and a folder."""
    orders = [
        dataclasses.replace(
            shop.order(*STEPS, run_id=run_id, settings={"lock_wait_seconds": 300.0}), may_fail=True
        )
        for run_id in ("disturbed", other)
    ]
    fates = shop.victims.run(*orders)
    for fate in fates:
        assert not fate.error or other == "disturbed", fate.error
    shop.assert_rerun_heals()


@pytest.mark.fault("lock's session ended")
def test_a_run_whose_lock_is_lost_fails_and_says_so(shop: Shop) -> None:
    shop.reset("build_warehouse")
    is_over = threading.Event()

    def end_lock() -> None:
        while not is_over.wait(0.02):
            shop.query(
                "select pg_terminate_backend(pid) from pg_locks where granted and objid = %s",
                db.TRANSFORM_LOCK,
            )

    ending = threading.Thread(target=end_lock)
    ending.start()
    try:
        error = shop.fail("build_warehouse")
    finally:
        is_over.set()
        ending.join()
    assert "The session that held the transform lock for build warehouse" in error
    shop.assert_rerun_heals()


# ---- what the machine does not have --------------------------------------------------------------------


@pytest.mark.fault("disk full")
@pytest.mark.parametrize("step", ["load", "build_marts", "publish"])
def test_a_full_disk_breaks_the_step_and_a_rerun_with_room_heals(
    shop: Shop, tmp_path: Path, step: str
) -> None:
    with small_disk(tmp_path) as disk:
        shop.reset(step)
        shop.server.execute(f"create tablespace small location '{disk}'")
        try:
            shop.server.execute(f"alter database {DATABASE} set tablespace small")
            ballast = disk.parent / "ballast"
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free)
            error = shop.fail(step)
            assert "No space left on device" in error
            ballast.unlink()
            shop.assert_rerun_heals()
        finally:
            shop.server.execute(f"drop database {DATABASE} with (force)")
            shop.server.execute("drop tablespace small")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A folder of the server's on a file system of 400 MB, in memory."""
    disk = Path("/var/lib/ecommerce-dw") / f"small-{os.getpid()}" if not os.geteuid() else folder / "small"
    disk.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        disk.rmdir()
        pytest.skip(f"a small file system may not be mounted here: {mounted.stderr.strip()}")
    try:
        own = disk / "tablespace"
        own.mkdir()
        with contextlib.suppress(KeyError):  # not started by root: the server is ours
            account = pwd.getpwnam(SERVER_USER)
            os.chown(own, account.pw_uid, account.pw_gid)
        yield own
    finally:
        subprocess.run(["umount", str(disk)], check=True)
        disk.rmdir()


@pytest.mark.fault("memory limit")
def test_a_build_without_memory_fails_and_a_rerun_heals(shop: Shop) -> None:
    shop.reset("build_marts")
    error = shop.fail("build_marts", memory=1 << 20)
    assert any(text in error for text in ("MemoryError", "memory", "can't start new thread")), error
    shop.assert_rerun_heals()


# ---- clocks --------------------------------------------------------------------------------------------


def library() -> str:
    """libfaketime, which moves a process's clock."""
    named = os.environ.get("LIBFAKETIME")
    places = [named] if named else [*map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))]
    if not places or not Path(places[0]).exists():
        pytest.skip("libfaketime is not installed (Debian: faketime), and LIBFAKETIME names none")
    return places[0]


@pytest.mark.fault("clock jumps")
def test_clocks_that_jump_and_run_wrong_change_nothing(shop: Shop, tmp_path: Path) -> None:
    """The clock of the processes that load, build and publish; the server's stays."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    helper = shop.helper(
        LD_PRELOAD=library(),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        DONT_FAKE_MONOTONIC="1",
        NO_FAKE_STAT="1",
    )
    try:
        for step, wrong in zip(STEPS, ("-1000d", "+2000d", "-1d x0.1", "+30d x20", "-3000d"), strict=True):
            clock.write_text(wrong)
            # a wait for a connection is over the sooner the quicker the clock
            helper.run(shop.order(step, settings={"connect_timeout_seconds": 600}))
    finally:
        helper.close()
    ((years,),) = shop.query("select max(started_at) - min(started_at) > '2 years' from raw.load_ledger")
    assert years, "the clock was not moved"
    shop.assert_undisturbed()
