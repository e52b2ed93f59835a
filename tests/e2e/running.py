"""A running platform as a story on it sees it: landing zone, scheduler, warehouse, receivers of alerts."""

from __future__ import annotations

import datetime as dt
import functools
import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ecommerce_dw.fingerprint import fingerprint
from ecommerce_dw.loading.reload import Reload
from ecommerce_dw.reprocess import plan, reprocess
from ecommerce_dw.settings import Settings
from shop_simulator import ENTITIES
from tests.e2e.checkout import Checkout
from tests.support.receivers import Hook, Inbox

DAG = "ecommerce_etl_pipeline"


@dataclass
class Platform:
    """A running platform, its receivers of alerts, and days of the shop that have not landed yet."""

    checkout: Checkout
    inbox: Inbox
    hook: Hook
    days_to_come: Path

    @functools.cached_property
    def shell(self) -> dict[str, str]:
        """The variables of `./deploy.sh env`: with them psql itself answers, cheap enough to ask often."""
        done = self.checkout.run("run", "env", "-0")
        assert done.returncode == 0, done.stderr
        return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)

    @property
    def landing(self) -> Path:
        return self.checkout.home / "landing" / "ecommerce"

    def land(self, day: dt.date, *entities: str) -> None:
        """Let a day's files arrive."""
        land(self.days_to_come, self.landing, day, *entities)

    def sql(self, query: str, database: str = "ecommerce_dw") -> str:
        done = subprocess.run(
            ["psql", "-d", database, "-Atc", query], env=self.shell, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def fingerprint(self) -> list[dict[str, object]]:
        return fingerprint_of(self.checkout)

    def trigger(self, **conf: object) -> str:
        """Trigger a run of the pipeline and wait for its end through the scheduler; its state."""
        return self.trigger_dag(DAG, conf)

    def trigger_dag(self, dag_id: str, conf: Mapping[str, object]) -> str:
        """The same of any DAG."""
        run_id = f"test__{time.time_ns()}"
        done = self.checkout.run(
            "run", "airflow", "dags", "trigger", dag_id, "--run-id", run_id, "--conf", json.dumps(conf)
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return self.wait(f"run_id = '{run_id}'")

    def wait(self, condition: str, seconds: float = 240) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            states = set(
                self.sql(f"select distinct state from dag_run where {condition}", "airflow").splitlines()
            )
            if states and states <= {"success", "failed"}:
                return ",".join(sorted(states))
            time.sleep(0.5)
        raise AssertionError(f"no end after {seconds} s: {states}")

    def task_states(self, dag_id: str = DAG) -> dict[str, str]:
        """State of each task of the DAG's latest run."""
        rows = self.sql(
            "select task_id, state from task_instance where (dag_id, run_id) = "
            f"(select dag_id, run_id from dag_run where dag_id = '{dag_id}' order by id desc limit 1)",
            "airflow",
        )
        return dict(row.split("|") for row in rows.splitlines())


def land(days: Path, landing: Path, day: dt.date, *entities: str) -> None:
    """Let a day's files arrive as a producer does: written beside, renamed."""
    for entity in entities or ENTITIES:
        name = f"{entity}/dt={day}/{entity}.csv"
        target = landing / name
        target.parent.mkdir(parents=True, exist_ok=True)
        building = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(days / name, building)
        building.rename(target)


class Runs(Protocol):
    """What calls deploy.sh: a checkout, or a stack of containers."""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call it and wait for its end."""


def fingerprint_of(platform: Runs) -> list[dict[str, object]]:
    """What `ecommerce-dw fingerprint` says of a running platform."""
    done = platform.run("run", "ecommerce-dw", "fingerprint", "--json")
    assert done.returncode == 0, done.stderr
    prints: list[dict[str, object]] = json.loads(done.stdout)
    return prints


def tables(platform: Runs) -> list[list[object]]:
    """Schema, name, rows and checksum of each table of a running platform."""
    columns = ("schema", "table", "rows", "checksum")
    return [[table[name] for name in columns] for table in fingerprint_of(platform)]


def undisturbed(settings: Settings, first: dt.date, last: dt.date) -> list[list[object]]:
    """The same days of the landing zone at once, without Airflow, into a warehouse of its own."""
    reprocess(settings, plan(settings, Reload(first, last, "ecommerce")), run_id="cli__undisturbed")
    return [list(table) for table in fingerprint(settings)]
