"""`./deploy.sh` on a checkout of its own: from start to stop, and what goes wrong in between."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.checkout import Checkout, make_checkout, python_for_others

COMPONENTS = ["postgres", "api-server", "scheduler", "dag-processor", "triggerer"]
SMALL = ("--days", "3", "--scale", "0.2")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout in a path with spaces."""
    made = make_checkout(tmp_path_factory.mktemp("e2e") / "a path with spaces")
    yield made
    made.run("reset", "--yes")


@pytest.fixture(scope="module")
def running(checkout: Checkout) -> Checkout:
    """The checkout with everything up."""
    done = checkout.run("dev", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout


def status(checkout: Checkout) -> dict[str, dict[str, dict[str, object]]]:
    shown: dict[str, dict[str, dict[str, object]]] = json.loads(checkout.run("status", "--json").stdout)
    return shown


def test_unknown_command_is_named(checkout: Checkout) -> None:
    done = checkout.run("frobnicate")
    assert done.returncode == 2
    assert "no command 'frobnicate'" in done.stderr


def test_before_dev_each_command_says_so(checkout: Checkout) -> None:
    for command in (["env"], ["psql", "-c", "select 1"], ["run", "true"]):
        done = checkout.run(*command)
        assert done.returncode == 1
        assert "./deploy.sh dev first" in done.stderr, command
    assert checkout.run("stop").stdout == "Nothing was running.\n"
    assert checkout.run("status").returncode == 1


def test_python_that_does_not_fit_is_named(checkout: Checkout, tmp_path: Path) -> None:
    done = checkout.run("dev", ECOMMERCE_DW_HOME=str(tmp_path / "home"), PYTHON="/bin/false")
    assert done.returncode == 1
    assert "PYTHON is set to '/bin/false'" in done.stderr


def test_home_that_can_not_be_made_is_named(checkout: Checkout) -> None:
    done = checkout.run("dev", ECOMMERCE_DW_HOME="/dev/null/home")
    assert done.returncode == 1
    assert "Set ECOMMERCE_DW_HOME" in done.stderr


@pytest.mark.parametrize("setting", ["WAREHOUSE_PORT", "AIRFLOW_PORT"])
def test_port_in_use_is_named_with_its_setting(checkout: Checkout, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = checkout.run("dev", *SMALL, **{setting: port})
    assert done.returncode == 1
    assert port in done.stderr and setting in done.stderr
    assert checkout.run("stop").returncode == 0


def test_dev_ends_with_everything_healthy(running: Checkout) -> None:
    shown = status(running)
    assert list(shown["components"]) == COMPONENTS
    assert {component["health"] for component in shown["components"].values()} == {"healthy"}
    assert shown["runs"][0]["state"] == "success"  # type: ignore[index]
    assert running.run("status").returncode == 0


def test_run_of_dev_and_of_the_schedule_are_one(running: Checkout) -> None:
    query = (
        "select run_type, logical_date is not null, "
        "(select next_dagrun > max(logical_date) from dag where dag_id = dag_run.dag_id), "
        "(select is_paused from dag where dag_id = dag_run.dag_id) "
        "from dag_run where dag_id = 'ecommerce_etl_pipeline' group by dag_id, run_type, logical_date"
    )
    deadline = time.monotonic() + 20
    while True:
        shown = running.run("psql", "-d", "airflow", "-Atc", query).stdout
        if shown == "manual|t|t|f\n" or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert shown == "manual|t|t|f\n"


def test_ui_answers_and_login_works(running: Checkout) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    address = f"http://127.0.0.1:{running.airflow_port}"
    request = urllib.request.Request(
        f"{address}/auth/token",
        data=json.dumps({"username": "admin", "password": "admin"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    token = json.load(opener.open(request, timeout=20))["access_token"]
    listing = urllib.request.Request(
        f"{address}/api/v2/connections", headers={"Authorization": f"Bearer {token}"}
    )
    connections = json.load(opener.open(listing, timeout=20))["connections"]
    assert [(each["connection_id"], each["port"]) for each in connections] == [
        ("warehouse", running.warehouse_port)
    ]


def test_everything_listens_on_loopback_alone(running: Checkout) -> None:
    listening = {
        connection.laddr.ip
        for process in running.processes()
        for connection in process.net_connections("tcp")
        if connection.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}


def test_psql_answers_as_owner_and_as_analyst(running: Checkout, tmp_path: Path) -> None:
    as_owner = running.run("psql", "-Atc", "select current_user, current_database()", cwd=tmp_path)
    assert as_owner.stdout == "warehouse|ecommerce_dw\n", as_owner.stderr
    as_analyst = running.run("psql", "-U", "analyst", "-Atc", "select current_user")
    assert as_analyst.stdout == "analyst\n", as_analyst.stderr
    refused = running.run("psql", "-U", "analyst", "-c", "create table raw.mine ()")
    assert refused.returncode != 0


def test_env_makes_the_plain_programs_work(running: Checkout, tmp_path: Path) -> None:
    script = f"""
        set -e
        eval "$('{running.folder}/deploy.sh' env)"
        psql -Atc 'select current_database()'
        ecommerce-dw --version
        airflow config get-value core dags_folder
        dbt --version > /dev/null && echo dbt works
    """
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PGPASSWORD": "wrong", "PGHOST": "elsewhere"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "ecommerce_dw"
    assert str(running.folder / "airflow" / "dags") in lines
    assert lines[-1] == "dbt works"


def test_dags_test_and_the_scheduler_do_not_run_the_same_tasks(running: Checkout) -> None:
    done = running.run("run", "airflow", "dags", "test", "ecommerce_etl_pipeline", "2026-01-31")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"\[DAG TEST\] end task", done.stdout + done.stderr)) == 2
    query = (
        "select state, (select is_paused from dag where dag_id = dag_run.dag_id) from dag_run "
        "where logical_date = '2026-01-31 00:00+00'"
    )
    assert running.run("psql", "-d", "airflow", "-Atc", query).stdout == "success|f\n"


def test_run_keeps_the_folder_and_the_exit_code(running: Checkout, tmp_path: Path) -> None:
    done = running.run("run", "sh", "-c", "pwd; exit 7", cwd=tmp_path)
    assert (done.stdout, done.returncode) == (f"{tmp_path}\n", 7)
    assert running.run("run", "no-such-program").returncode == 127


def test_called_through_a_link(running: Checkout, tmp_path: Path) -> None:
    link = tmp_path / "platform"
    link.symlink_to(running.folder / "deploy.sh")
    done = running.run("psql", "-Atc", "select 1", cwd=tmp_path, program=link)
    assert done.stdout == "1\n", done.stderr


def test_logs_of_a_component(running: Checkout) -> None:
    done = running.run("logs", "scheduler", "-n", "5")
    assert done.returncode == 0 and 1 <= len(done.stdout.splitlines()) <= 5
    assert "postgres " in running.run("logs", "-n", "1").stdout


def test_second_dev_starts_nothing_and_runs_nothing(running: Checkout) -> None:
    before = status(running)
    began = time.monotonic()
    done = running.run("dev")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 40
    assert "everything runs already" in done.stdout
    assert "no days added" in done.stdout
    assert status(running)["components"] == before["components"]
    assert len(status(running)["runs"]) == len(before["runs"])


def test_another_seed_is_refused_and_names_reset(running: Checkout) -> None:
    done = running.run("dev", "--seed", "43")
    assert done.returncode == 1
    assert "seed 43 in place of 42" in done.stderr and "reset" in done.stderr


def test_two_dev_at_once_are_kept_apart(running: Checkout) -> None:
    (running.home / "run" / "sample-waits").touch()  # so that the first has something to do
    first = running.start("dev")
    lock = running.home / "run" / "lock"
    while not lock.read_text().strip():
        time.sleep(0.02)
    second = running.run("dev")
    first.communicate(timeout=120)
    assert first.returncode == 0
    assert second.returncode == 1
    assert f"process {first.pid}" in second.stderr


def test_killed_component_is_seen_and_started_again(running: Checkout) -> None:
    pid = status(running)["components"]["triggerer"]["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    shown = running.run("status")
    assert shown.returncode == 1
    assert re.search(r"^triggerer +dead", shown.stdout, flags=re.MULTILINE)
    done = running.run("dev")
    assert done.returncode == 0, done.stderr
    assert "triggerer started" in done.stdout
    assert running.run("status").returncode == 0


def test_failed_run_names_task_log_and_what_to_do(running: Checkout) -> None:
    cause = running.folder / "airflow" / "dags" / "fail"
    cause.touch()
    (running.home / "run" / "sample-waits").touch()
    try:
        done = running.run("dev")
    finally:
        cause.unlink()
    assert done.returncode == 1
    assert "Task publish failed" in done.stderr
    assert "RuntimeError: the marts are on strike" in done.stderr
    assert "./deploy.sh dev again" in done.stderr
    again = running.run("dev")
    assert again.returncode == 0, again.stderr
    assert "publish" in again.stdout


def test_everything_made_is_under_the_home(running: Checkout) -> None:
    strays = [
        path
        for path in running.folder.rglob("*")
        if not path.is_relative_to(running.home)
        and path.name in ("__pycache__", "target", "logs", ".user.yml")
    ]
    assert strays == []


@pytest.mark.slow
def test_interrupted_dev_goes_on_with_the_next(running: Checkout) -> None:
    running.run("stop")
    first = running.start("dev")
    assert first.stdout is not None
    while "PostgreSQL" not in (line := first.stdout.readline()):
        assert line, "dev ended before its first step"
    os.killpg(first.pid, signal.SIGINT)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 130, errors
    assert "./deploy.sh dev goes on from here" in errors
    done = running.run("dev")
    assert done.returncode == 0, done.stderr


def test_stop_leaves_no_process_and_can_be_repeated(running: Checkout) -> None:
    assert running.processes()
    done = running.run("stop", cwd=running.folder)
    assert done.returncode == 0
    for component in COMPONENTS:
        assert component in done.stdout
    assert running.wait_for_end_of_processes() == []
    assert running.run("stop").stdout == "Nothing was running.\n"


def test_reset_asks_and_then_deletes_all_but_the_environment(running: Checkout) -> None:
    assert running.run("reset").returncode == 1
    assert (running.home / "sample.json").exists()
    assert running.run("reset", "--yes").returncode == 0
    assert sorted(path.name for path in running.home.iterdir()) == ["cache", "venv"]
    assert running.wait_for_end_of_processes() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.slow
def test_works_as_an_ordinary_user() -> None:
    python = python_for_others()
    if python is None:
        pytest.skip("no Python here that another user could run")
    folder = Path("/var/tmp") / f"ecommerce-dw-e2e-{os.getpid()}"
    try:
        checkout = make_checkout(folder / "of nobody", python=python)
        subprocess.run(["chown", "-R", "nobody", str(folder)], check=True)
        checkout.user = "nobody"
        done = checkout.run("dev", *SMALL)
        assert done.returncode == 0, done.stdout + done.stderr
        owners = {process.username() for process in checkout.processes()}
        assert owners == {"nobody"}
        assert checkout.run("psql", "-Atc", "select 1").stdout == "1\n"
        assert checkout.run("stop").returncode == 0
        assert checkout.wait_for_end_of_processes() == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_killed_worker_is_noticed_within_a_minute() -> None:
    folder = Path("/var/tmp") / f"ecommerce-dw-e2e-killed-{os.getpid()}"
    checkout = make_checkout(folder / "checkout")
    try:
        cause = checkout.folder / "airflow" / "dags" / "hang"
        cause.touch()
        dev = checkout.start("dev", *SMALL)
        query = "select state from task_instance where task_id = 'publish'"
        deadline = time.monotonic() + 120
        while checkout.run("psql", "-d", "airflow", "-Atc", query).stdout != "running\n":
            assert time.monotonic() < deadline
            time.sleep(1)
        scheduler = status(checkout)["components"]["scheduler"]["pid"]
        assert isinstance(scheduler, int)
        for child in psutil.Process(scheduler).children(recursive=True):
            child.kill()
        began = time.monotonic()
        dev.communicate(timeout=120)
        assert time.monotonic() - began < 60
        assert dev.returncode == 1
    finally:
        checkout.run("reset", "--yes")
        shutil.rmtree(folder, ignore_errors=True)
