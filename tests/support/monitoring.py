"""The files of infrastructure/monitoring, as tests read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from ecommerce_dw.settings import PROJECT_DIR

MONITORING = PROJECT_DIR / "infrastructure" / "monitoring"


def dashboards() -> dict[str, dict[str, Any]]:
    """Title → dashboard."""
    read = [
        json.loads(file.read_text()) for file in sorted((MONITORING / "grafana/dashboards").glob("*.json"))
    ]
    return {dashboard["title"]: dashboard for dashboard in read}


def targets(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every query to a kind of datasource: `dashboard: panel: letter`, and the query."""
    for title, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                if target["datasource"]["type"] == kind:
                    yield f"{title}: {panel['title']}: {target['refId']}", target


def expressions() -> dict[str, str]:
    """Every PromQL expression of rules and dashboards, with Grafana's variables as it would fill them in."""
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    found = {f"rule {rule['alert']}": rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    for name, target in targets("prometheus"):
        found[name] = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1d")
    return found
