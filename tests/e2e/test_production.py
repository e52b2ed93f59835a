"""`./deploy.sh prod` on a host of its own: refused, deployed, upgraded under a running DAG, and back again.

The tests of this module are one story on one home and run in order.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from ecommerce_dw import db
from ecommerce_dw.settings import Settings
from shop_simulator import generate
from tests.e2e.production import COMPONENTS, Production, production_home
from tests.e2e.running import DAG, tables, undisturbed

pytestmark = pytest.mark.slow

FIRST = dt.date(2026, 1, 1)

#: What a scheduler logs when it was asked to end.
ASKED = "Exiting gracefully"


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prod") / "days"
    generate(folder, first=FIRST, last=FIRST + dt.timedelta(days=9), scale=0.3)
    return folder


@pytest.fixture(scope="module")
def production(landing: Path) -> Iterator[Production]:
    with production_home(landing.parent) as made:
        made.write_settings(LANDING_ECOMMERCE=str(landing))
        yield made


@pytest.fixture(scope="module")
def deployed(production: Production) -> Production:
    """The home with its first release in service, and the schedule's first run done."""
    done = production.prod()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is in service" in done.stdout
    assert "Smoke test: " in done.stdout
    assert production.hook.posts == [], "a deployment sends no alert"
    wait_for_end(production, "run_type = 'scheduled'")
    return production


def token(production: Production, password: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(
        f"http://127.0.0.1:{production.checkout.airflow_port}/auth/token",
        data=json.dumps({"username": "admin", "password": password}).encode(),
        headers={"Content-Type": "application/json"},
    )
    answer: str = json.load(opener.open(request, timeout=20))["access_token"]
    return answer


def status(production: Production) -> dict[str, dict[str, dict[str, object]]]:
    shown: dict[str, dict[str, dict[str, object]]] = json.loads(
        production.checkout.run("status", "--json").stdout
    )
    return shown


def warehouse(production: Production) -> Settings:
    """How the test itself reaches the warehouse."""
    return Settings(
        _env_file=None,
        ecommerce_dw_home=production.home,
        warehouse_port=production.checkout.warehouse_port,
        lock_wait_seconds=60.0,
        **{name.lower(): value for name, value in production.settings.items() if "PASSWORD" in name},
    )


def roll_with_a_task_in_hand(
    production: Production, hold: Callable[[], bool]
) -> subprocess.CompletedProcess[str]:
    """Deploy another version while a task waits for a lock that we hold, for as long as `hold` says."""
    log = production.home / "logs" / "scheduler.log"
    asked = log.read_text().count(ASKED)
    with db.transform_lock(holder="the test", settings=warehouse(production)):
        process = production.start()
        deadline = time.monotonic() + 900
        while log.read_text().count(ASKED) == asked:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        running = "select count(*) from task_instance where state = 'running'"
        assert int(production.sql(running, "airflow")) >= 1
        while hold():
            time.sleep(0.1)
    output, errors = process.communicate(timeout=1800)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def wait_for_end(production: Production, run: str) -> dict[str, int]:
    """Wait until the run of which that is true succeeded; task → tries it needed."""
    run = f"dag_run.dag_id = '{DAG}' and {run}"
    deadline = time.monotonic() + 900
    while (state := production.sql(f"select state from dag_run where {run}", "airflow")) != "success":
        assert state != "failed" and time.monotonic() < deadline, state
        time.sleep(0.5)
    rows = production.sql(
        f"select task_id, try_number from task_instance join dag_run using (run_id) where {run}", "airflow"
    )
    return {task: int(number) for task, number in (row.split("|") for row in rows.splitlines())}


def land_and_trigger(production: Production, landing: Path, first: int, last: int) -> str:
    """Let days of the shop arrive and trigger a run; its id."""
    days = [FIRST + dt.timedelta(days=day) for day in (first, last)]
    generate(landing, opening=FIRST, first=days[0], last=days[1], scale=0.3)
    run_id = f"test__{time.time_ns()}"
    done = production.checkout.run("run", "airflow", "dags", "trigger", DAG, "--run-id", run_id)
    assert done.returncode == 0, done.stderr
    return run_id


def test_an_incomplete_configuration_is_refused_with_the_whole_list(production: Production) -> None:
    complete = dict(production.settings)
    env = production.checkout.folder / ".env"
    env.write_text("SMTP_HOST=mail.invalid\nDRAIN_SECONDS=60\n")
    env.chmod(0o644)
    done = production.prod("--json")
    production.settings = complete
    production.write_settings()
    env.chmod(0o600)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert not report["is_ok"]
    found = {(finding["check"], finding["where"]) for finding in report["findings"]}
    assert found >= {
        ("environment", "ECOMMERCE_DW_ENVIRONMENT"),
        ("secrets", "WAREHOUSE_PASSWORD"),
        ("secrets", "LOADER_PASSWORD"),
        ("secrets", "TRANSFORMER_PASSWORD"),
        ("secrets", "ANALYST_PASSWORD"),
        ("secrets", "AIRFLOW_ADMIN_PASSWORD"),
        ("secrets", str(env)),
        ("server", "WAREHOUSE_HOST"),
        ("backup target", "BACKUP_DIR"),
        ("alert channel", "SMTP_HOST, ALERT_MAIL_TO"),
    }
    assert all(finding["advice"] and finding["problem"] for finding in report["findings"])
    assert not (production.home / "airflow").exists()
    assert not (production.home / "current").exists()
    assert production.checkout.processes() == []


def test_check_changes_nothing(production: Production) -> None:
    done = production.prod("--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 errors" in done.stdout
    assert "WARNING  server: The embedded PostgreSQL" in done.stdout
    assert production.checkout.processes() == []


def test_the_first_deployment_runs_everything_from_its_release(deployed: Production) -> None:
    assert deployed.runs_whole(deployed.deployed())
    shown = status(deployed)
    assert {part["health"] for part in shown["components"].values()} == {"healthy"}
    assert deployed.sql("select datname from pg_database where datname like '%smoke%'") == ""
    assert not list((deployed.home / "run").glob("smoke-*"))
    assert deployed.sql("select count(*) > 0 from marts.customer_summary") == "t"


def test_it_is_closed_to_others(deployed: Production) -> None:
    listening = {
        connection.laddr.ip
        for process in deployed.checkout.processes()
        for connection in process.net_connections("tcp")
        if connection.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}
    assert token(deployed, "looks-after-the-dags")
    with pytest.raises(urllib.error.HTTPError) as refused:
        token(deployed, "admin")
    assert refused.value.code == 401


def test_it_is_no_development(deployed: Production) -> None:
    assert deployed.sql("select dag_id from dag where dag_id = 'simulate_shop_day'", "airflow") == ""
    paused = "select is_paused from dag where dag_id = 'ecommerce_etl_pipeline'"
    assert deployed.sql(paused, "airflow") == "f"
    assert "instance_name = E-commerce warehouse\n" in (deployed.home / "airflow" / "airflow.cfg").read_text()
    refused = deployed.checkout.run("reset", "--yes")
    assert refused.returncode == 1 and "production" in refused.stderr
    refused = deployed.checkout.run("dev")
    assert refused.returncode == 1 and "production" in refused.stderr
    assert status(deployed)["components"]["scheduler"]["health"] == "healthy"


def test_the_same_again_changes_nothing(deployed: Production) -> None:
    before = status(deployed)["components"]
    done = deployed.prod()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything runs already" in done.stdout
    assert status(deployed)["components"] == before


def test_an_upgrade_under_a_running_dag_loses_no_task(
    deployed: Production, landing: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = deployed.deployed()
    before = {name: part["pid"] for name, part in status(deployed)["components"].items()}
    run_id = land_and_trigger(deployed, landing, 10, 12)
    deployed.change("second")
    # Longer than other components have before they are killed: the scheduler waits for its task.
    rest = iter(range(30))

    def hold() -> bool:
        assert deployed.pid("scheduler") == before["scheduler"]
        time.sleep(1)
        return next(rest, None) is not None

    done = roll_with_a_task_in_hand(deployed, hold)

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["before"] == first and sorted(report["rolled"]) == sorted(COMPONENTS)
    assert report["release"] != first and deployed.runs_whole(report["release"])
    assert (deployed.home / "previous").resolve().name == first
    after = {name: part["pid"] for name, part in status(deployed)["components"].items()}
    assert all(after[name] != before[name] for name in COMPONENTS)
    assert after["postgres"] == before["postgres"]
    tries = wait_for_end(deployed, f"run_id = '{run_id}'")
    assert set(tries.values()) == {1}, tries
    monkeypatch.setenv("LANDING_ECOMMERCE", str(landing))
    seen = tables(deployed.checkout)
    assert len(seen) >= 10
    assert seen == undisturbed(settings, FIRST, FIRST + dt.timedelta(days=12))


def test_a_release_whose_dag_is_broken_goes_back(deployed: Production) -> None:
    good = deployed.deployed()
    dag = deployed.checkout.folder / "airflow" / "dags" / "ecommerce_etl_dag.py"
    text = dag.read_text()
    dag.write_text(text + "\nimport no_such_module\n")
    done = deployed.prod()
    dag.write_text(text)
    assert done.returncode == 1
    assert "No module named 'no_such_module'" in done.stderr
    assert f"Rolled back: every component runs {good} again" in done.stderr
    assert deployed.runs_whole(good)
    assert {part["health"] for part in status(deployed)["components"].values()} == {"healthy"}


def test_a_release_that_fails_its_smoke_test_goes_back(deployed: Production) -> None:
    good = deployed.deployed()
    model = deployed.checkout.folder / "dbt" / "models" / "warehouse" / "fact_orders.sql"
    text = model.read_text()
    model.write_text(text + "\n-- {{ no_such_macro() }}\n")
    done = deployed.prod()
    model.write_text(text)
    assert done.returncode == 1
    assert "no_such_macro" in done.stderr
    assert f"Rolled back: every component runs {good} again" in done.stderr
    assert deployed.runs_whole(good)
    assert deployed.sql("select datname from pg_database where datname like '%smoke%'") == ""


def test_tasks_that_take_too_long_are_tried_again_with_changed_passwords(
    deployed: Production, landing: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = warehouse(deployed)
    file = deployed.checkout.folder.parent / "loader-password"
    file.touch(mode=0o600)
    file.write_text("another-loaders-password\n")
    del deployed.settings["LOADER_PASSWORD"]
    deployed.write_settings(LOADER_PASSWORD_FILE=str(file), DRAIN_SECONDS="0")
    run_id = land_and_trigger(deployed, landing, 13, 14)
    pid = deployed.pid("scheduler")
    deployed.change("third")

    done = roll_with_a_task_in_hand(deployed, lambda: deployed.pid("scheduler") == pid)

    assert done.returncode == 0, done.stdout + done.stderr
    tries = wait_for_end(deployed, f"run_id = '{run_id}'")
    assert max(tries.values()) == 2, tries
    logged_in = deployed.checkout.run("psql", "-U", "loader", "-Atc", "select current_user")
    assert logged_in.stdout == "loader\n", logged_in.stderr
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        db.connect("loader", settings=reached)
    monkeypatch.setenv("LANDING_ECOMMERCE", str(landing))
    assert tables(deployed.checkout) == undisturbed(settings, FIRST, FIRST + dt.timedelta(days=14))


def test_rollback_goes_to_the_release_before_and_forth_again(deployed: Production) -> None:
    second = deployed.deployed()
    first = (deployed.home / "previous").resolve().name
    done = deployed.prod("--rollback")
    assert done.returncode == 0, done.stdout + done.stderr
    assert deployed.runs_whole(first)
    done = deployed.prod("--rollback")
    assert done.returncode == 0, done.stdout + done.stderr
    assert deployed.runs_whole(second)


def test_rollback_over_another_airflow_is_refused_and_explained(deployed: Production) -> None:
    runs = deployed.deployed()
    record = deployed.home / "previous" / "metadata-revision"
    before = record.read_text()
    record.write_text("0123456789ab")  # as an older Airflow's release has it
    done = deployed.prod("--rollback")
    record.write_text(before)
    assert done.returncode == 1
    assert "another Airflow was deployed since" in done.stderr
    assert "pg_restore" in done.stderr
    assert deployed.runs_whole(runs)


def test_another_airflow_waits_until_somebody_agrees(deployed: Production) -> None:
    stamp = deployed.home / "run" / "airflow-migrated"
    runs = deployed.deployed()
    # As after an upgrade of the package: the metadata was migrated by another version.
    stamp.write_text(stamp.read_text().replace(stamp.read_text().split()[0], "3.2.0"))
    refused = deployed.prod()
    assert refused.returncode == 1
    assert "--upgrade-airflow" in refused.stdout and "3.2.0" in refused.stdout
    assert deployed.runs_whole(runs)
    done = deployed.prod("--upgrade-airflow")
    assert done.returncode == 0, done.stdout + done.stderr
    [dump] = (deployed.checkout.folder.parent / "backups").glob("airflow-*.dump")
    assert dump.stat().st_mode & 0o777 == 0o600
    listed = deployed.checkout.run("run", "pg_restore", "--list", str(dump))
    assert "TABLE DATA public dag_run" in listed.stdout, listed.stderr
    assert deployed.runs_whole(deployed.deployed())


def test_stop_leaves_nothing_running(deployed: Production) -> None:
    assert deployed.checkout.run("stop").returncode == 0
    assert deployed.checkout.wait_for_end_of_processes() == []
