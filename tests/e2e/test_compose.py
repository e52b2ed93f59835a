"""The platform as containers, under a real engine: from nothing, with a worker killed and everything rolled
under a running DAG, to a clean end. Each state has the fingerprints of an undisturbed run without containers.

The tests of this module are one story on one platform and run in order. Where the images are missing,
stand-ins of Debian packages take their place (tests/support/stand_ins); without an engine all is skipped.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from collections.abc import Iterator

import pytest

from shop_simulator import generate
from tests.e2e.checkout import make_checkout
from tests.e2e.running import Platform
from tests.e2e.stack import ROLLED, Stack, engine_and_images
from tests.support.receivers import receiving_mail, receiving_posts

pytestmark = pytest.mark.slow

SCALE = 0.3
OPENING = dt.date(2026, 1, 18)
LAST = dt.date(2026, 1, 31)
DAYS = [LAST + dt.timedelta(days=1), LAST + dt.timedelta(days=2)]
SAMPLE = ("--days", str((LAST - OPENING).days + 1), "--end", str(LAST), "--scale", str(SCALE))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`./deploy.sh dev --containers` with two workers, from nothing."""
    engine, images = engine_and_images()
    folder = tmp_path_factory.mktemp("compose")
    folder.chmod(0o755)
    generate(folder / "days", opening=OPENING, first=DAYS[0], last=DAYS[-1], scale=SCALE)
    made = Stack(engine, folder, images, folder / "days", settings={"COMPOSE_PROFILES": "dev"})
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
