"""OpenLineage's own client as Airflow calls it, with what our settings tell it: no scheduler needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ecommerce_dw.platform.configuration import airflow_options
from ecommerce_dw.settings import PROJECT_DIR, Settings
from tests.support.peers import peer, silent
from tests.support.receivers import receiving_posts

#: Emits the end of the task `load`, as the listener does, and prints how long that took (s).
_EMIT = """
import datetime as dt, time
import ecommerce_etl_dag
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.providers.openlineage.plugins.adapter import OpenLineageAdapter

task = ecommerce_etl_dag.ecommerce_etl_pipeline().get_task("load")
extractor = ExtractorManager().get_extractor_class(task)
adapter, now, started = OpenLineageAdapter(), dt.datetime.now(dt.UTC).isoformat(), time.monotonic()
adapter.complete_task(
    run_id="01a22a00-fa85-7e44-84fb-fca6e30bc6ac", job_name="ecommerce_etl_pipeline.load", end_time=now,
    task=extractor(task).extract(), nominal_start_time=now, nominal_end_time=now, owners=[], tags=[],
    job_description="", job_description_type=None, run_facets={},
)
print("TOOK", time.monotonic() - started)
"""


def emit(tmp_path: Path, url: str) -> tuple[list[dict[str, Any]], float]:
    """The events in the file, and how long it took to tell of one (s)."""
    settings = Settings(  # type: ignore[call-arg]
        _env_file=None,
        ecommerce_dw_home=tmp_path,
        openlineage_url=url,
        openlineage_log=tmp_path / "events.jsonl",
        openlineage_timeout_seconds=1,
    )
    told = airflow_options(settings)["openlineage"]
    done = subprocess.run(
        [sys.executable, "-c", _EMIT],
        env=os.environ
        | {f"AIRFLOW__OPENLINEAGE__{name.upper()}": value for name, value in told.items()}
        | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        | {"PYTHONPATH": f"{PROJECT_DIR}/airflow/config:{PROJECT_DIR}/airflow/dags"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    took = float(done.stdout.rpartition("TOOK ")[2])
    return [json.loads(line) for line in (tmp_path / "events.jsonl").open()], took


def test_an_event_reaches_file_and_receiver_with_what_the_task_reads_and_writes(tmp_path: Path) -> None:
    with receiving_posts() as hook:
        [event], _ = emit(tmp_path, hook.url)
    assert hook.posts == [event]
    assert (event["eventType"], event["job"]["namespace"]) == ("COMPLETE", "ecommerce-dw")
    assert {each["name"].rpartition(".raw.")[2] for each in event["outputs"]} >= {"ecommerce__orders"}
    assert {each["namespace"] for each in event["inputs"]} == {"file"}


def test_a_receiver_that_hangs_costs_one_timeout_and_the_file_has_the_event(tmp_path: Path) -> None:
    with peer(silent("hangs")) as receiver:
        events, took = emit(tmp_path, f"http://127.0.0.1:{receiver.port}")
    assert len(events) == receiver.connections == 1
    assert 1 <= took < 5


def test_a_receiver_that_is_not_there_costs_nothing(tmp_path: Path) -> None:
    events, took = emit(tmp_path, "http://127.0.0.1:1")
    assert len(events) == 1 and took < 5
