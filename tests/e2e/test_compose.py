"""The platform as containers, under a real engine: from nothing, with a worker killed and everything rolled
under a running DAG, to a clean end. Each state has the fingerprints of an undisturbed run without containers.

The tests of this module are one story on one platform and run in order. Where the images are missing,
stand-ins of Debian packages take their place (tests/support/stand_ins); without an engine all is skipped.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ecommerce_dw.platform.postgres import free_port
from ecommerce_dw.settings import PROJECT_DIR
from shop_simulator import ENTITIES, generate
from tests.e2e.checkout import make_checkout
from tests.e2e.running import DAG, Platform
from tests.support.containers import Engine, NoEngineError, find_engine, images_for
from tests.support.receivers import receiving_mail, receiving_posts

pytestmark = pytest.mark.slow

SCALE = 0.3
OPENING = dt.date(2026, 1, 18)
LAST = dt.date(2026, 1, 31)
DAYS = [LAST + dt.timedelta(days=1), LAST + dt.timedelta(days=2)]
SAMPLE = ("--days", str((LAST - OPENING).days + 1), "--end", str(LAST), "--scale", str(SCALE))
#: Airflow's services, in the order deploy.sh rolls them.
ROLLED = (
    "airflow-apiserver",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "airflow-worker",
)


@dataclass
class Stack:
    """The containers of a test, in a home and under a name of their own.

    Attributes:
        engine: What runs them.
        folder: Its home, and its landing folder.
        images: Settings that name the images.
        days_to_come: Files of days that have not landed.
    """

    engine: Engine
    folder: Path
    images: dict[str, str]
    days_to_come: Path
    name: str = field(default_factory=lambda: f"ecommerce-dw-test-{uuid.uuid4().hex[:8]}")
    warehouse_port: int = field(default_factory=free_port)
    airflow_port: int = field(default_factory=free_port)

    @property
    def landing(self) -> Path:
        return self.folder / "landing"

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "DOCKER_BUILDKIT": "0",  # the stand-ins are in the engine, not in a builder beside it
            "BUILDAH_FORMAT": "docker",
            "COMPOSE": " ".join(self.engine.compose),
            "COMPOSE_PROFILES": "dev",
            "COMPOSE_PROJECT_NAME": self.name,
            "ECOMMERCE_DW_HOME": str(self.folder / "home"),
            "ECOMMERCE_DW_IMAGE": f"localhost/{self.name}:latest",
            "LANDING_ROOT": str(self.landing),
            "WAREHOUSE_PORT": str(self.warehouse_port),
            "AIRFLOW_PORT": str(self.airflow_port),
            **self.images,
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call deploy.sh and wait for its end, whatever that is."""
        return subprocess.run(
            [str(PROJECT_DIR / "deploy.sh"), *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def compose(self, *arguments: str) -> str:
        """Output of a command of compose, which has to succeed."""
        done = subprocess.run(
            [*self.engine.compose, *arguments],
            cwd=PROJECT_DIR,
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

    def metadata(self, query: str) -> str:
        """Airflow's metadata, asked in their own server's container."""
        [server] = self.containers("airflow-db")
        ask = 'PGPASSWORD="$(cat /run/secrets/airflow_db_password)" psql -h 127.0.0.1 -U airflow -Atc "$0"'
        return self.engine.call("exec", server, "sh", "-c", ask, query)

    def fingerprint(self) -> list[dict[str, object]]:
        done = self.run("run", "ecommerce-dw", "fingerprint", "--json")
        assert done.returncode == 0, done.stderr
        prints: list[dict[str, object]] = json.loads(done.stdout)
        return prints

    def land(self, day: dt.date) -> None:
        for entity in ENTITIES:
            name = f"{entity}/dt={day}/{entity}.csv"
            target = self.landing / "ecommerce" / name
            target.parent.mkdir(parents=True)
            shutil.copyfile(self.days_to_come / name, target.with_name(f".{target.name}.tmp"))
            target.with_name(f".{target.name}.tmp").rename(target)

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


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`./deploy.sh dev --containers` with two workers, from nothing."""
    try:
        engine = find_engine()
        images = images_for(engine)
    except NoEngineError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("compose")
    folder.chmod(0o755)
    generate(folder / "days", opening=OPENING, first=DAYS[0], last=DAYS[-1], scale=SCALE)
    made = Stack(engine, folder, images, folder / "days")
    made.landing.mkdir()
    made.landing.chmod(0o777)  # the containers' user writes the sample
    try:
        done = made.run("dev", "--containers", "--workers", "2", *SAMPLE)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield made
    finally:
        made.run("reset", "--yes")
        subprocess.run([engine.program, "image", "rm", "--force", made.environment["ECOMMERCE_DW_IMAGE"]])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> list[list[dict[str, object]]]:
    """Fingerprints of the same days without containers: after the sample, and after each day to come."""
    checkout = make_checkout(tmp_path_factory.mktemp("embedded") / "checkout", small_dag=False)
    with receiving_mail() as inbox, receiving_posts() as hook:
        try:
            done = checkout.run("dev", *SAMPLE, "--no-ui")
            assert done.returncode == 0, done.stdout + done.stderr
            platform = Platform(checkout, inbox, hook, stack.days_to_come)
            prints = [platform.fingerprint()]
            for day in DAYS:
                platform.land(day)
                assert platform.trigger(business_date=str(day)) == "success"
                prints.append(platform.fingerprint())
            return prints
        finally:
            checkout.run("reset", "--yes")


def test_from_nothing_to_the_fingerprints_of_a_run_without_containers(
    stack: Stack, undisturbed: list[list[dict[str, object]]]
) -> None:
    assert len(stack.containers("airflow-worker")) == 2
    assert stack.fingerprint() == undisturbed[0]
    assert len(undisturbed[0]) >= 10


def test_status_psql_and_logs_are_those_of_the_containers(stack: Stack) -> None:
    shown = json.loads(stack.run("status", "--json").stdout)
    assert shown["is_healthy"], shown
    assert set(shown["components"]) == {
        "postgres", "api-server", "scheduler", "dag-processor", "triggerer", "worker"
    }  # fmt: skip
    assert shown["components"]["postgres"]["port"] == stack.warehouse_port
    asked = stack.run(
        "psql", "-U", "analyst", "-Atc", "select current_user, count(*) > 0 from marts.sales_summary"
    )
    assert asked.stdout.strip() == "analyst|t", asked.stderr
    assert stack.run("run", "sh", "-c", "exit 7").returncode == 7
    assert "celery@" in stack.run("logs", "worker").stdout


def test_the_image_is_small_and_its_containers_have_no_rights(stack: Stack) -> None:
    size = int(
        stack.engine.call(
            "image", "inspect", "--format", "{{.Size}}", stack.environment["ECOMMERCE_DW_IMAGE"]
        )
    )
    assert size < 1.2e9
    for container in stack.containers(*ROLLED):
        assert stack.engine.call("exec", container, "id", "-u") == "50000"
        assert stack.engine.call("inspect", "--format", "{{.HostConfig.ReadonlyRootfs}}", container) == "true"
        shown = stack.engine.call("inspect", "--format", "{{.Config.Env}}", container).upper()
        assert "PASSWORD" not in shown and "_KEY=" not in shown and "_SECRET" not in shown


def test_health_checks_see_what_each_container_has_become(stack: Stack) -> None:
    for container in stack.containers(*ROLLED):
        stack.engine.call("exec", container, "ecommerce-dw", "container", "healthy")
    [processor] = stack.containers("airflow-dag-processor")
    # One that has not said anything for long, as after a hang.
    stack.metadata(
        "update job set latest_heartbeat = latest_heartbeat - interval '1 hour' "
        "where job_type = 'DagProcessorJob'"
    )
    done = subprocess.run(
        [stack.engine.program, "exec", processor, "ecommerce-dw", "container", "healthy"],
        capture_output=True,
        text=True,
    )
    # Its next heartbeat may have come in between.
    assert done.returncode == 0 or "No heartbeat of the dag-processor" in done.stderr


def test_a_worker_killed_with_a_task_in_hand_leaves_no_trace(
    stack: Stack, undisturbed: list[list[dict[str, object]]]
) -> None:
    stack.land(DAYS[0])
    run_id = stack.trigger(DAYS[0])
    holder = stack.wait_for_task(run_id, "build_warehouse")
    stack.engine.call("kill", holder)
    assert stack.wait_for_end(run_id) == "success"
    tries = stack.metadata(
        f"select try_number, hostname <> '{holder}' from task_instance "
        f"where run_id = '{run_id}' and task_id = 'build_warehouse'"
    )
    assert tries == "2|t"
    assert stack.fingerprint() == undisturbed[1]


def test_rolling_every_component_under_a_running_dag_leaves_no_trace(
    stack: Stack, undisturbed: list[list[dict[str, object]]]
) -> None:
    stack.compose(
        "up", "--detach", "--no-deps", "--no-recreate", "--scale", "airflow-worker=2", "airflow-worker"
    )
    before = set(stack.containers(*ROLLED))
    stack.land(DAYS[1])
    run_id = stack.trigger(DAYS[1])
    stack.wait_for_task(run_id, "build_warehouse")
    for service in ROLLED:
        scale = ("--scale", "airflow-worker=2") if service == "airflow-worker" else ()
        stack.compose("up", "--detach", "--no-deps", "--force-recreate", *scale, service)
    after = set(stack.containers(*ROLLED))
    assert len(after) == 6 and not before & after
    assert stack.wait_for_end(run_id) == "success"
    assert stack.fingerprint() == undisturbed[2]


def test_stop_keeps_the_volumes_and_reset_leaves_nothing(stack: Stack) -> None:
    stopped = stack.run("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert stack.containers() == []
    assert stack.name in stack.engine.call("volume", "ls", "--format", "{{.Name}}")
    assert stack.run("status").returncode == 1
    reset = stack.run("reset", "--yes")
    assert reset.returncode == 0, reset.stderr
    assert stack.name not in stack.engine.call("volume", "ls", "--format", "{{.Name}}")
    assert stack.name not in stack.engine.call("ps", "--all", "--format", "{{.Names}}")
    assert stack.name not in stack.engine.call("network", "ls", "--format", "{{.Name}}")
