"""Every DAG file is read by Airflow without an error, and is what people who look after it rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ecommerce_dw.settings import PROJECT_DIR

#: Prints what Airflow reads in the DAG folder. In a process of its own: Airflow reads its home when imported.
_READ = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(sys.argv[1])
print("DAGS " + json.dumps({
    "errors": bag.import_errors,
    "seconds": {str(stat.file): stat.duration.total_seconds() for stat in bag.dagbag_stats},
    "warnings": [str(warning) for warning in bag.captured_warnings.values()],
    "dags": {
        dag.dag_id: {
            "doc": dag.doc_md,
            "tags": sorted(dag.tags),
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "paused_at_first": dag.is_paused_upon_creation,
            "params": {name: dag.params.get_param(name).schema for name in dag.params},
            "defaults": {name: dag.params.get_param(name).value for name in dag.params if name != "from"},
            "schedule": getattr(dag.timetable, "expression", None),
            "deadlines": len(dag.deadline or []),
            "tasks": {
                task.task_id: {
                    "owner": task.owner,
                    "doc": task.doc_md,
                    "timeout": task.execution_timeout and task.execution_timeout.total_seconds(),
                }
                for task in dag.tasks
            },
        }
        for dag in bag.dags.values()
    },
}))
"""

Read = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Reads the DAG folder in an environment of its own."""

    def read(**variables: str) -> dict[str, Any]:
        home = tmp_path_factory.mktemp("airflow")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        done = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", _READ,
             str(PROJECT_DIR / "airflow" / "dags")],
            env=inherited | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"} | variables,
            capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        line = next(line for line in done.stdout.splitlines() if line.startswith("DAGS "))
        found: dict[str, Any] = json.loads(line.removeprefix("DAGS "))
        return found

    return read


@pytest.fixture(scope="module")
def bag(read: Read) -> dict[str, Any]:
    return read(ECOMMERCE_DW_ENVIRONMENT="development")


def test_every_dag_is_read_without_an_error_or_warning(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    assert bag["warnings"] == []
    assert set(bag["dags"]) == {"ecommerce_etl_pipeline", "maintenance", "reprocess", "simulate_shop_day"}


def test_the_shop_is_not_simulated_in_production(read: Read, bag: dict[str, Any]) -> None:
    production = read(ECOMMERCE_DW_ENVIRONMENT="production")
    assert production["errors"] == {}
    assert set(bag["dags"]) - set(production["dags"]) == {"simulate_shop_day"}


def test_the_simulated_shop_is_on_by_itself_and_comes_before_the_nightly_run(bag: dict[str, Any]) -> None:
    dag = bag["dags"]["simulate_shop_day"]
    assert dag["paused_at_first"] is False
    assert dag["schedule"] == "0 1 * * *"
    assert bag["dags"]["ecommerce_etl_pipeline"]["schedule"] == "0 2 * * *"


def test_every_dag_has_a_runbook_an_owner_and_tags_that_say_how_urgent_it_is(bag: dict[str, Any]) -> None:
    for dag_id, dag in bag["dags"].items():
        for word in (f"# {dag_id}", "**Owner:**", "**Runs:**"):
            assert word in dag["doc"], dag_id
        for prefix in ("impact:", "triage:"):
            assert [tag for tag in dag["tags"] if tag.startswith(prefix)], dag_id
        assert dag["catchup"] is False
        assert dag["max_active_runs"] == 1
        for task_id, task in dag["tasks"].items():
            assert task["owner"] == "data-engineering", task_id
            assert task["doc"], task_id
            assert task["timeout"], task_id


def test_every_task_is_in_its_runbook(bag: dict[str, Any]) -> None:
    #: What always works is not in the table of what to do when it fails.
    unnamed = {"data_docs"}
    for dag_id, dag in bag["dags"].items():
        for task_id in set(dag["tasks"]) - unnamed:
            assert f"`{task_id}`" in dag["doc"], f"{dag_id}.{task_id}"


def test_every_parameter_has_a_type_a_title_and_an_explanation(bag: dict[str, Any]) -> None:
    for dag_id, dag in bag["dags"].items():
        for name, schema in dag["params"].items():
            assert {"type", "title"} <= set(schema), f"{dag_id}.{name}"


def test_the_nightly_run_has_a_deadline(bag: dict[str, Any]) -> None:
    deadlines = {dag_id: dag["deadlines"] for dag_id, dag in bag["dags"].items()}
    assert deadlines == {
        "ecommerce_etl_pipeline": 1,
        "maintenance": 0,
        "reprocess": 0,
        "simulate_shop_day": 0,
    }


def test_maintenance_is_on_by_itself_and_comes_after_the_nightly_run(bag: dict[str, Any]) -> None:
    dag = bag["dags"]["maintenance"]
    assert dag["paused_at_first"] is False
    assert dag["schedule"] == "30 3 * * *"


def test_reprocessing_is_a_dry_run_unless_told_otherwise(bag: dict[str, Any]) -> None:
    dag = bag["dags"]["reprocess"]
    assert dag["defaults"]["dry_run"] is True
    assert dag["schedule"] is None
