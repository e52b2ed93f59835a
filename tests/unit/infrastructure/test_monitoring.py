"""The files of infrastructure/monitoring: what refers to what, and what Prometheus' own tool says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ecommerce_dw.commands.metrics import DEFAULT_ADDRESS
from ecommerce_dw.metrics import FIGURES, PREFIX
from ecommerce_dw.settings import PROJECT_DIR
from tests.support.monitoring import MONITORING, dashboards, expressions, targets

GRAFANA = MONITORING / "grafana"


def test_each_panel_asks_a_datasource_that_is_there() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/datasources.yml").read_text())
    known = {(source["type"], source["uid"]) for source in provisioned["datasources"]}
    found = dashboards()
    assert set(found) == {"Airflow", "Warehouse"}
    for title, dashboard in found.items():
        panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
        assert panels and len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
        for panel in panels:
            assert panel["targets"], (title, panel["title"])
            for asked in (panel, *panel["targets"]):
                source = asked["datasource"]
                assert (source["type"], source["uid"]) in known, (title, panel["title"])
        for one in dashboard["panels"]:
            for other in dashboard["panels"]:
                assert one is other or not overlap(one["gridPos"], other["gridPos"]), (title, one["title"])


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_each_figure_of_the_warehouse_that_is_read_is_served() -> None:
    served = {f"{PREFIX}up", *(PREFIX + figure.name for figure in FIGURES)}
    used = {name for text in expressions().values() for name in re.findall(r"\becommerce_dw_\w+", text)}
    assert len(used) > 4 and used - served == set()


def test_each_rule_says_how_bad_it_is_and_what_to_do() -> None:
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
            assert set(rule["annotations"]) == {"summary", "action", "runbook"}, rule["alert"]
            page = PROJECT_DIR / rule["annotations"]["runbook"]
            assert page.parent == PROJECT_DIR / "docs" / "runbooks" and page.is_file(), page
            if page.stem in ("platform-down", "warehouse-down"):  # the others are about incidents
                assert f"`{rule['alert']}`" in page.read_text()


def test_prometheus_scrapes_services_of_the_compose_file_at_their_ports() -> None:
    services = yaml.safe_load((PROJECT_DIR / "docker-compose.yml").read_text())["services"]
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"][0] for job in config["scrape_configs"]}
    assert targets.pop("prometheus") == "localhost:9090"
    assert targets == {"airflow": "statsd-exporter:9102", "warehouse": "metrics:9109"}
    assert (
        services["metrics"]["command"][-1].rpartition(":")[2] == DEFAULT_ADDRESS.rpartition(":")[2] == "9109"
    )
    for target in targets.values():
        shared = set(services["prometheus"]["networks"]) & set(services[target.partition(":")[0]]["networks"])
        assert shared, target


@pytest.fixture(scope="module")
def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("there is no promtool here (Debian's package prometheus)")
    return program


def passes(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration_and_rules(promtool: str) -> None:
    passes(promtool, "check", "config", str(MONITORING / "prometheus.yml"))
    passes(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(MONITORING / "alerts.yml"))


def test_each_rule_fires_when_it_should_and_not_before(promtool: str) -> None:
    cases = Path(__file__).with_name("alerts.test.yml")
    passes(promtool, "test", "rules", str(cases))
    tried = {
        test["alertname"]
        for case in yaml.safe_load(cases.read_text())["tests"]
        for test in case["alert_rule_test"]
    }
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    assert tried == {rule["alert"] for group in rules for rule in group["rules"]}


def test_prometheus_takes_every_query_of_the_dashboards(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": text}
        for number, text in enumerate(expressions().values(), start=1)
    ]
    assert len(list(targets("prometheus"))) > 20
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    passes(promtool, "check", "rules", str(file))
