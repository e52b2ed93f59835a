"""`./deploy.sh dev --workers N` without containers: Redis and Celery workers beside the other components."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.checkout import Checkout, make_checkout

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("redis-server") or shutil.which("valkey-server")),
        reason="workers get their tasks through Redis, and no redis-server is installed",
    ),
]

COMPONENTS = ["postgres", "api-server", "scheduler", "dag-processor", "triggerer"]
SMALL = ("--days", "3", "--scale", "0.2", "--no-ui")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = make_checkout(tmp_path_factory.mktemp("workers") / "checkout")
    yield made
    made.run("reset", "--yes")


def test_without_redis_it_says_what_is_missing(checkout: Checkout, tmp_path: Path) -> None:
    for program in ("bash", "sh", "sed", "cat", "awk", "df", "cksum", "mkdir", "dirname", "tr", "tail"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    done = checkout.run("dev", *SMALL, "--workers", "2", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "no redis-server on PATH" in done.stderr and "apt install redis-server" in done.stderr


def test_workers_run_the_tasks_with_everything_preloaded(checkout: Checkout) -> None:
    # The small DAG's first task fails where what forked it has not imported dbt.
    done = checkout.run("dev", *SMALL, "--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = json.loads(checkout.run("status", "--json").stdout)
    assert list(shown["components"]) == [*COMPONENTS, "redis", "worker-1", "worker-2"]
    assert shown["is_healthy"]
    executor = checkout.run("run", "airflow", "config", "get-value", "core", "executor")
    assert executor.stdout.strip() == "CeleryExecutor"
    tasks = "select count(*) from task_instance where state = 'success' and external_executor_id is not null"
    assert int(checkout.run("psql", "-d", "airflow", "-Atc", tasks).stdout) >= 2
    assert "celery" in checkout.run("logs", "worker-1").stdout


def test_a_killed_worker_is_seen_and_started_again(checkout: Checkout) -> None:
    pid = json.loads(checkout.run("status", "--json").stdout)["components"]["worker-2"]["pid"]
    os.kill(pid, 9)
    shown = checkout.run("status")
    assert shown.returncode == 1 and "worker-2 is dead" in shown.stdout
    again = checkout.run("dev", "--no-ui", "--workers", "2")
    assert again.returncode == 0 and "worker-2 started" in again.stdout, again.stdout + again.stderr


def test_without_the_option_the_scheduler_runs_the_tasks_again(checkout: Checkout) -> None:
    done = checkout.run("dev", "--no-ui")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(json.loads(checkout.run("status", "--json").stdout)["components"]) == COMPONENTS


def test_stop_leaves_no_process(checkout: Checkout) -> None:
    assert checkout.run("stop").returncode == 0
    assert checkout.wait_for_end_of_processes() == []
