"""Airflow's own StatsD client sends every metric it knows to a real exporter with our mapping."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from ecommerce_dw.platform.configuration import airflow_options, program_environment
from ecommerce_dw.platform.postgres import free_port
from ecommerce_dw.settings import Settings
from tests.support.monitoring import MONITORING, expressions

#: Of parts of Airflow that are not used here.
FOREIGN = (
    "edge_worker.",
    "edge_executor.",
    "ol.",
    "kubernetes_executor.",
    "batch_executor.",
    "ecs_executor.",
    "lambda_executor.",
)

#: Sends each metric of Airflow's registry once, as its components do; prints what it was told to send.
SENDER = """
import json, sys
from airflow._shared.observability.metrics import metrics_registry
from airflow.configuration import conf
from airflow.observability import stats
from airflow.observability.metrics import stats_utils

stats.initialize(
    factory=stats_utils.get_stats_factory(),
    export_legacy_names=conf.getboolean("metrics", "legacy_names_on"),
)
foreign = tuple(json.loads(sys.argv[1]))
sent = []
for metric in metrics_registry.read_metrics_yaml(str(metrics_registry.YAML_REGISTRY_PATH)):
    if metric["name"].startswith(foreign):
        continue
    variables = metric["name_variables"]
    tags = {name: f"a-{name}" for name in variables}
    # Of a task in a group: Airflow writes the dot as __ where it would be taken for a separator.
    tags |= {"task_id": "group.load"} if "task_id" in tags else {}
    name = metric["name"].format(**{name: f"a_{name}" for name in variables})
    {
        "counter": lambda: stats.incr(name, 1, tags=tags),
        "gauge": lambda: stats.gauge(name, 7, tags=tags),
        "timer": lambda: stats.timing(name, 2500.0, tags=tags),
    }[metric["type"]]()
    sent.append([name, variables])
print(json.dumps(sent))
"""

#: Family → names of its labels.
LABELLED = {
    "airflow_ti_start": {"dag_id", "task_id"},
    "airflow_ti_finish": {"dag_id", "task_id", "state"},
    "airflow_ti_scheduled": {"queue", "dag_id", "task_id"},
    "airflow_ti_queued": {"queue", "dag_id", "task_id"},
    "airflow_ti_running": {"queue", "dag_id", "task_id"},
    "airflow_ti_deferred": {"queue", "dag_id", "task_id"},
    "airflow_task_duration_seconds": {"dag_id", "task_id"},
    "airflow_task_queued_duration_seconds": {"dag_id", "task_id"},
    "airflow_task_scheduled_duration_seconds": {"dag_id", "task_id"},
    "airflow_task_exit": {"dag_id", "task_id", "return_code"},
    "airflow_task_removed_from_dag": {"dag_id"},
    "airflow_task_restored_to_dag": {"dag_id"},
    "airflow_task_instance_created": {"operator"},
    "airflow_operator_failures": {"operator"},
    "airflow_operator_successes": {"operator"},
    "airflow_dagrun_duration_seconds": {"dag_id", "state"},
    "airflow_dagrun_schedule_delay_seconds": {"dag_id"},
    "airflow_dagrun_dependency_check_seconds": {"dag_id"},
    "airflow_dagrun_first_task_scheduling_delay_seconds": {"dag_id"},
    "airflow_pool_open_slots": {"pool"},
    "airflow_pool_queued_slots": {"pool"},
    "airflow_pool_running_slots": {"pool"},
    "airflow_pool_deferred_slots": {"pool"},
    "airflow_pool_scheduled_slots": {"pool"},
    "airflow_pool_starving_tasks": {"pool"},
    "airflow_executor_open_slots": {"executor"},
    "airflow_executor_queued_tasks": {"executor"},
    "airflow_executor_running_tasks": {"executor"},
    "airflow_triggers_running": {"host"},
    "airflow_triggerer_capacity_left": {"host"},
    "airflow_dag_processing_last_duration_seconds": {"bundle", "file"},
    "airflow_dag_processing_last_run_seconds_ago": {"file"},
    "airflow_dag_processing_last_num_of_db_queries": {"file"},
}


@dataclass(frozen=True)
class Exported:
    """What Airflow was told to send (name and variables of each), and what Prometheus scrapes."""

    sent: list[tuple[str, list[str]]]
    text: str

    @property
    def families(self) -> dict[str, Metric]:
        return {family.name: family for family in text_string_to_metric_families(self.text)}

    def value(self, name: str, labels: dict[str, str]) -> float:
        """The value of the one series of that name that has these labels."""
        wanted = ",".join(f'{label}="{labels[label]}"' for label in sorted(labels))
        series = name + (f"{{{wanted}}}" if wanted else "")
        [found] = [float(number) for each, _, number in self._samples() if each == series]
        return found

    @property
    def names(self) -> set[str]:
        """Names of the series, as expressions use them."""
        return {series.split("{")[0] for series, _, _ in self._samples()}

    def _samples(self) -> Iterator[tuple[str, str, str]]:
        return (line.rpartition(" ") for line in self.text.splitlines() if not line.startswith("#"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    program = shutil.which("statsd_exporter") or shutil.which("prometheus-statsd-exporter")
    if program is None:
        pytest.skip("there is no statsd_exporter here (a Go program: github.com/prometheus/statsd_exporter)")
    home = tmp_path_factory.mktemp("statsd")
    statsd, web = free_port(), free_port()
    settings = Settings(_env_file=None, ecommerce_dw_home=home, statsd_host="127.0.0.1", statsd_port=statsd)
    options = airflow_options(settings)["metrics"]
    log = home / "log"
    with log.open("w") as errors:
        exporter = subprocess.Popen(
            [
                program,
                f"--statsd.mapping-config={MONITORING / 'statsd-mapping.yml'}",
                f"--statsd.listen-udp=127.0.0.1:{statsd}",
                "--statsd.listen-tcp=",
                f"--web.listen-address=127.0.0.1:{web}",
                "--log.level=warn",
            ],
            stderr=errors,
        )
    try:
        read(f"http://127.0.0.1:{web}/-/healthy", exporter)  # as the container's health check
        done = subprocess.run(
            [sys.executable, "-c", SENDER, json.dumps(FOREIGN)],
            env=program_environment(settings)
            | {f"AIRFLOW__METRICS__{name.upper()}": value for name, value in options.items()},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        # The last one that is sent: then all have come.
        last = "airflow_connection_test_hook_duration_count"
        text = read(f"http://127.0.0.1:{web}/metrics", exporter, until=last)
        yield Exported(json.loads(done.stdout.splitlines()[-1]), text)
        assert log.read_text() == ""
    finally:
        exporter.terminate()
        exporter.wait(timeout=30)


def read(url: str, process: subprocess.Popen[bytes], until: str = "") -> str:
    """What it answers, once that holds a text."""
    deadline = time.monotonic() + 20
    while True:
        assert process.poll() is None and time.monotonic() < deadline, f"{url}: no answer, or no {until}"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode()
            if until in text:
                return text
        time.sleep(0.05)


def label_names(family: Metric) -> list[set[str]]:
    return [set(sample.labels) - {"quantile"} for sample in family.samples]


def test_what_has_a_dag_a_task_or_the_like_has_it_as_a_label(exported: Exported) -> None:
    found = {
        name: label_names(family)
        for name, family in exported.families.items()
        if name.startswith("airflow_") and any(label_names(family))
    }
    # Each of its samples, so that none of them is counted a second time without labels.
    assert {name: names for name, names in found.items() if names.count(names[0]) != len(names)} == {}
    assert {name: names[0] for name, names in found.items()} == LABELLED


def test_nothing_is_exported_twice_and_no_name_holds_a_value(exported: Exported) -> None:
    families = exported.families
    for name, variables in exported.sent:
        plain = "airflow_" + re.sub(r"[.-]", "_", name)
        if variables and plain not in LABELLED and f"a_{variables[0]}" not in name:
            assert plain not in families, f"{name} is counted a second time, without labels"
    # A job's name is in Airflow's own names.
    assert [name for name in families if re.search(r"group__load|a_(?!job_name)[a-z]+_(id|name)", name)] == []
    assert "dropped" not in families


def test_values_and_units(exported: Exported) -> None:
    task = {"dag_id": "a-dag_id", "task_id": "group__load"}
    assert exported.value("airflow_ti_finish_total", task | {"state": "a-state"}) == 1
    assert exported.value("airflow_pool_queued_slots", {"pool": "a-pool_name"}) == 7
    assert exported.value("airflow_task_duration_seconds_sum", task) == 2.5  # 2,500 ms were sent
    for state in ("success", "failed"):
        run = {"dag_id": "a-dag_id", "state": state}
        assert exported.value("airflow_dagrun_duration_seconds_count", run) == 1
    assert exported.value("airflow_scheduler_heartbeat", {}) == 1


def test_every_metric_of_airflow_that_a_rule_or_a_dashboard_reads_exists(exported: Exported) -> None:
    used = {name for text in expressions().values() for name in re.findall(r"\bairflow_\w+", text)}
    assert len(used) > 15
    assert used - exported.names == set()
