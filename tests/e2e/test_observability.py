"""What a real run leaves for those who watch: its log lines, and OpenLineage events to a file and by HTTP."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.checkout import make_checkout
from tests.e2e.running import DAG, Platform
from tests.support.peers import peer, silent
from tests.support.receivers import receiving_mail, receiving_posts

pytestmark = pytest.mark.slow

LAST = dt.date(2026, 1, 31)
TASKS = {
    *("load", "check_freshness", "check_raw", "build_staging", "build_warehouse", "check_warehouse"),
    *("build_marts", "check_marts", "publish", "data_docs", "alert"),
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`./deploy.sh dev` on three days of a small shop, with lineage to both."""
    folder = tmp_path_factory.mktemp("lineage")
    with receiving_mail() as inbox, receiving_posts() as hook:
        checkout = make_checkout(folder / "checkout", small_dag=False)
        (checkout.folder / ".env").write_text(
            f"OPENLINEAGE_URL={hook.url}\nOPENLINEAGE_LOG=var/lineage.jsonl\n"
        )
        try:
            done = checkout.run(
                *("dev", "--days", "3", "--end", str(LAST), "--scale", "0.2", "--no-ui"), timeout=600
            )
            assert done.returncode == 0, done.stdout + done.stderr
            yield Platform(checkout, inbox, hook, folder / "days")
        finally:
            checkout.run("reset", "--yes")


def events(platform: Platform) -> list[dict[str, Any]]:
    """Those in the file."""
    return [json.loads(line) for line in (platform.checkout.home / "lineage.jsonl").open()]


def of_tasks(found: list[Any]) -> dict[str, set[str]]:
    """Task of the pipeline → the types of its events."""
    types: dict[str, set[str]] = {}
    for event in found:
        dag, _, task = event["job"]["name"].partition(".")
        if dag == DAG and task:
            types.setdefault(task, set()).add(event["eventType"])
    return types


def names(event: dict[str, Any], side: str) -> set[str]:
    return {each["name"] for each in event[side]}


def test_each_line_of_a_tasks_log_is_json_and_says_which_run_step_and_file_it_is_about(
    platform: Platform,
) -> None:
    about_files = []
    logs = list((platform.checkout.home / "logs" / "tasks" / f"dag_id={DAG}").rglob("*.log"))
    assert {log.parent.name for log in logs} == {f"task_id={task}" for task in TASKS}
    for log in logs:
        for line in map(json.loads, log.open()):
            assert {"timestamp", "level", "event"} <= set(line)
            if line.get("logger", "").startswith("ecommerce_dw"):
                assert log.parent.parent.name == f"run_id={line['run_id']}"
                assert log.parent.name == f"task_id={line['task_id']}"
                assert line.get("step", line["task_id"]) == line["task_id"]
                about_files += [line] if "file" in line else []
    assert {line["step"] for line in about_files} == {"load"}
    assert {(line["source"], line["entity"]) for line in about_files} >= {
        ("ecommerce", "orders"),
        ("ecommerce", "customers"),
    }


def test_each_task_tells_of_its_start_and_its_end_to_both(platform: Platform) -> None:
    assert of_tasks(events(platform)) == {task: {"START", "COMPLETE"} for task in TASKS}
    assert of_tasks(platform.hook.posts) == of_tasks(events(platform))
    assert {event["job"]["namespace"] for event in events(platform)} == {"ecommerce-dw"}


def test_files_lead_to_raw_tables_and_on_to_the_marts(platform: Platform) -> None:
    complete = {
        event["job"]["name"].partition(".")[2]: event
        for event in events(platform)
        if event["eventType"] == "COMPLETE" and event["job"]["name"].startswith(f"{DAG}.")
    }
    landing = f"{platform.landing}/orders/dt={{date}}/orders{{part}}.csv"
    assert landing in names(complete["load"], "inputs")
    assert {each["namespace"] for each in complete["load"]["inputs"]} == {"file"}
    steps = ["load", "build_staging", "build_warehouse", "build_marts", "publish"]
    for before, after in itertools.pairwise(steps):
        written = names(complete[before], "outputs")
        assert written and written == names(complete[after], "inputs"), (before, after)
    database = f"postgres://127.0.0.1:{platform.checkout.warehouse_port}"
    assert {each["namespace"] for each in complete["publish"]["outputs"]} == {database}
    published = platform.sql("select table_name from information_schema.tables where table_schema = 'marts'")
    assert names(complete["publish"], "outputs") == {
        f"ecommerce_dw.marts.{table}" for table in published.splitlines()
    }
    assert not complete["alert"]["inputs"] and not complete["alert"]["outputs"]


def test_a_receiver_that_hangs_fails_no_run_and_costs_a_timeout_an_event(platform: Platform) -> None:
    with peer(silent("hangs")) as receiver:
        (platform.checkout.folder / ".env").write_text(
            f"OPENLINEAGE_URL=http://127.0.0.1:{receiver.port}\nOPENLINEAGE_LOG=var/lineage.jsonl\n"
            "OPENLINEAGE_TIMEOUT_SECONDS=1\n"
        )
        done = platform.checkout.run("dev", "--no-ui", timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        before, seen = len(events(platform)), receiver.connections
        started = time.monotonic()
        assert platform.trigger(business_date=str(LAST)) == "success"
        took = time.monotonic() - started
        told = events(platform)[before:]
        assert receiver.connections - seen >= 2 * len(TASKS)
    assert of_tasks(told) == {task: {"START", "COMPLETE"} for task in TASKS}
    # Two events a task, each 1 s and up to 3 s for the process that hangs to be ended, beside the run's own.
    assert took < 2 * len(TASKS) * 4 + 120
