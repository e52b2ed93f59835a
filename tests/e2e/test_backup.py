"""A disaster through `./deploy.sh`: backup by the scheduler, everything lost, restored, going on.

The tests of this module are one story on one platform and run in order.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.checkout import Checkout, make_checkout
from tests.e2e.running import DAG, Platform, tables
from tests.support.receivers import receiving_mail, receiving_posts

pytestmark = pytest.mark.slow

SMALL = ("--days", "5", "--end", "2026-01-31", "--scale", "0.3", "--no-ui")


@pytest.fixture(scope="module")
def backups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backups")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, backups: Path) -> Iterator[Checkout]:
    """`./deploy.sh dev` on five days of a small shop."""
    made = make_checkout(tmp_path_factory.mktemp("disaster") / "a checkout", small_dag=False)
    (made.folder / ".env").write_text(f"BACKUP_DIR={backups}\nBACKUP_KEEP=1\n")
    try:
        done = made.run("dev", *SMALL)
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        made.run("reset", "--yes")


@pytest.fixture(scope="module")
def before(checkout: Checkout) -> list[list[object]]:
    return tables(checkout)


def dated(backups: Path) -> list[Path]:
    return sorted(path for path in backups.iterdir() if path.name.startswith("ecommerce_dw-"))


def runs(checkout: Checkout) -> int:
    """Runs of the pipeline that Airflow knows."""
    query = f"select count(*) from dag_run where dag_id = '{DAG}'"
    return int(checkout.run("psql", "-d", "airflow", "-Atc", query).stdout)


def test_the_scheduler_takes_a_backup_and_tidies_up(
    checkout: Checkout, backups: Path, before: list[list[object]], tmp_path: Path
) -> None:
    with receiving_mail() as inbox, receiving_posts() as hook:
        platform = Platform(checkout, inbox, hook, tmp_path)
        for _ in range(2):
            assert platform.trigger_dag("maintenance", {}) == "success"
            states = platform.task_states("maintenance")
            assert set(states.values()) == {"success"}, states
    # the second one has taken the first one's place
    assert len(dated(backups)) == 1
    manifest = json.loads((dated(backups)[0] / "manifest.json").read_text())
    assert set(manifest["databases"]) == {"warehouse", "airflow"}
    assert runs(checkout) > 0, "airflow db clean took what is new"
    assert tables(checkout) == before


def test_restore_refuses_while_the_platform_runs(checkout: Checkout, backups: Path) -> None:
    done = checkout.run("restore", str(dated(backups)[0]), "--yes")
    assert done.returncode == 1
    assert "scheduler" in done.stderr and "./deploy.sh stop" in done.stderr


def test_a_lost_server_comes_back_and_the_platform_goes_on(
    checkout: Checkout, backups: Path, before: list[list[object]], figure: Callable[..., None]
) -> None:
    taken = checkout.run("backup", "named", "--json", cwd=backups)
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["folder"] == str(backups / "named")
    earlier = runs(checkout)
    assert checkout.run("stop").returncode == 0
    shutil.rmtree((checkout.home / "postgres").resolve() / "data")

    started = time.monotonic()
    done = checkout.run("restore", str(backups / "named"))
    figure(
        "time to restore, in seconds",
        "./deploy.sh restore, on a server that was lost",
        time.monotonic() - started,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every fingerprint the backup's" in done.stdout
    # there is something to replace now, so it asks
    again = checkout.run("restore", str(backups / "named"))
    assert again.returncode == 1 and "--yes" in again.stderr
    again = checkout.run("restore", str(backups / "named"), "--yes", "--drop-old")
    assert again.returncode == 0, again.stderr

    up = checkout.run("dev", *SMALL)
    assert up.returncode == 0, up.stdout + up.stderr
    assert tables(checkout) == before
    assert runs(checkout) >= earlier > 0
