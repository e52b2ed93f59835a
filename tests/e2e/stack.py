"""The platform as containers as a story on it sees it."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ecommerce_dw.platform.postgres import free_port
from ecommerce_dw.settings import PROJECT_DIR
from tests.e2e.running import DAG, fingerprint_of, land
from tests.support.containers import Engine, NoEngineError, find_engine, images_for

#: Airflow's services, in the order deploy.sh rolls them.
ROLLED = (
    "airflow-apiserver",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "airflow-worker",
)


def engine_and_images() -> tuple[Engine, dict[str, str]]:
    """What runs containers here and the settings that name the images; without either the test is skipped."""
    try:
        engine = find_engine()
        return engine, images_for(engine)
    except NoEngineError as error:
        pytest.skip(str(error))


@dataclass
class Stack:
    """The containers of a test, in a home and under a name of their own.

    Attributes:
        engine: What runs them.
        folder: Its home, and its landing folder.
        images: Settings that name the images, and what these ask for.
        days_to_come: Files of days that have not landed.
        project: The checkout it is started from.
        settings: What else is set.
    """

    engine: Engine
    folder: Path
    images: dict[str, str]
    days_to_come: Path
    project: Path = PROJECT_DIR
    settings: dict[str, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"ecommerce-dw-test-{uuid.uuid4().hex[:8]}")
    warehouse_port: int = field(default_factory=free_port)
    airflow_port: int = field(default_factory=free_port)

    @property
    def landing(self) -> Path:
        return self.folder / "landing"

    @property
    def environment(self) -> dict[str, str]:
        # `./deploy.sh test` says how to reach the embedded server, which has no TLS.
        inherited = {name: value for name, value in os.environ.items() if name != "WAREHOUSE_SSLMODE"}
        return inherited | {
            "DOCKER_BUILDKIT": "0",  # the stand-ins are in the engine, not in a builder beside it
            "BUILDAH_FORMAT": "docker",
            "COMPOSE": " ".join(self.engine.compose),
            "COMPOSE_PROJECT_NAME": self.name,
            "ECOMMERCE_DW_HOME": str(self.folder / "home"),
            "ECOMMERCE_DW_IMAGE": f"localhost/{self.name}:latest",
            "LANDING_ROOT": str(self.landing),
            "WAREHOUSE_PORT": str(self.warehouse_port),
            "AIRFLOW_PORT": str(self.airflow_port),
            **self.images,
            **self.settings,
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call deploy.sh and wait for its end, whatever that is; a failed test shows what it said."""
        done = subprocess.run(
            [str(self.project / "deploy.sh"), *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        print(done.stdout, done.stderr)
        return done

    def compose(self, *arguments: str) -> str:
        """Output of a command of compose, which has to succeed."""
        done = subprocess.run(
            [*self.engine.compose, *arguments],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def containers(self, *services: str) -> list[str]:
        """Ids of the running containers of these services, of all when none is named."""
        label = "com.docker.compose"
        lines = self.engine.call(
            "ps", "--filter", f"label={label}.project={self.name}",
            "--format", '{{.ID}} {{.Label "' + label + '.service"}}' if self.engine.program == "docker"
            else '{{.ID}} {{index .Labels "' + label + '.service"}}',
        ).splitlines()  # fmt: skip
        rows = [line.split() for line in lines]
        return [container for container, service in rows if not services or service in services]

    @property
    def has_tls(self) -> bool:
        """Whether the servers speak TLS: those in the images may be built without."""
        return self.images.get("WAREHOUSE_SSLMODE") != "disable"

    def ask(self, server: str, query: str) -> str:
        """A query in a server's own container, by its socket; one line a row."""
        [container] = self.containers(server)
        psql = 'psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -Atc "$0"'
        return self.engine.call("exec", container, "sh", "-c", psql, query)

    def metadata(self, query: str) -> str:
        """Airflow's metadata."""
        return self.ask("airflow-db", query)

    def ways(self, server: str, seconds: float = 60) -> set[str]:
        """How the clients that come within a time are connected over the network: `TLS`, `plain`."""
        deadline = time.monotonic() + seconds
        query = (
            "select distinct case when ssl then 'TLS' else 'plain' end from pg_stat_ssl "
            "join pg_stat_activity using (pid) where client_addr is not null"
        )
        while not (found := set(self.ask(server, query).split())) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def start_servers(self) -> None:
        """The databases and Redis alone, and wait until they answer."""
        self.compose("run", "--rm", "-T", "init", "true")

    def fingerprint(self) -> list[dict[str, object]]:
        return fingerprint_of(self)

    def land(self, day: dt.date) -> None:
        """Let a day's files arrive."""
        land(self.days_to_come, self.landing / "ecommerce", day)

    def trigger(self, day: dt.date) -> str:
        """Ask the scheduler for a run about a day; its id."""
        run_id = f"test__{day}"
        done = self.run(
            "run", "airflow", "dags", "trigger", DAG, "--run-id", run_id,
            "--conf", json.dumps({"business_date": str(day)}),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return run_id

    def wait_for_task(self, run_id: str, task_id: str, seconds: float = 240) -> str:
        """Wait until a task is at work; the id of the container that has it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            host = self.metadata(
                f"select hostname from task_instance where run_id = '{run_id}' and task_id = '{task_id}' "
                "and state = 'running' and hostname <> ''"
            )
            if host:
                return host
            time.sleep(0.1)
        raise AssertionError(f"{task_id} did not start within {seconds} s")

    def wait_for_end(self, run_id: str, seconds: float = 900) -> str:
        """Wait for the end of a run; its state."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = self.metadata(f"select state from dag_run where run_id = '{run_id}'")
            if state in ("success", "failed"):
                return state
            time.sleep(0.5)
        raise AssertionError(f"{run_id} did not end within {seconds} s: {state}")
