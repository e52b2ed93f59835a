"""The platform as containers, under a real engine: from nothing, with a worker killed and everything rolled
under a running DAG, to a clean end. Each state has the fingerprints of an undisturbed run without containers.

The tests of this module are one story on one platform and run in order. Where the images are missing,
stand-ins of Debian packages take their place (tests/support/stand_ins); without an engine all is skipped, and
what TLS does where the stand-in's server has none.
"""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from ecommerce_dw.platform.certificates import make_certificates
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


@pytest.fixture
def authority(stack: Stack, tmp_path: Path) -> Path:
    """What a client on this machine checks the warehouse's server by."""
    if not stack.has_tls:
        pytest.skip(
            "the PostgreSQL in the stand-in is built without TLS: STAND_IN_POSTGRES (tests/support/stand_ins)"
        )
    shown = stack.run("run", "cat", "/var/lib/ecommerce-dw/certificates/authority.crt")
    assert shown.returncode == 0, shown.stderr
    file = tmp_path / "authority.crt"
    file.write_text(shown.stdout)
    return file


def log_in(stack: Stack, mode: str, authority: Path | None = None) -> psycopg2.extensions.connection:
    """As an analyst on this machine does."""
    return psycopg2.connect(
        host="localhost", port=stack.warehouse_port, dbname="ecommerce_dw", user="analyst",
        password="analyst", sslmode=mode, sslrootcert=str(authority) if authority else None,
    )  # fmt: skip


def serial_number(stack: Stack, authority: Path) -> str:
    """Of the certificate that the warehouse's server shows."""
    with socket.create_connection(("localhost", stack.warehouse_port)) as connection:
        connection.sendall(struct.pack("!ii", 8, 80877103))  # PostgreSQL's request for TLS
        assert connection.recv(1) == b"S"
        context = ssl.create_default_context(cafile=str(authority))
        with context.wrap_socket(connection, server_hostname="localhost") as encrypted:
            shown = encrypted.getpeercert()
    assert shown is not None
    return str(shown["serialNumber"])


def test_every_way_to_the_servers_is_encrypted_and_checked(
    stack: Stack, authority: Path, tmp_path: Path
) -> None:
    assert stack.ways("airflow-db") == {"TLS"}
    asked = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    assert stack.run("psql", "-Atc", asked).stdout.strip() == "t"
    shown = stack.run("run", "sh", "-c", "echo $WAREHOUSE_SSLMODE $PGSSLMODE").stdout
    assert shown.split() == ["verify-full", "verify-full"]

    assert log_in(stack, "verify-full", authority).info.ssl_in_use
    with pytest.raises(psycopg2.OperationalError, match="no encryption"):
        log_in(stack, "disable")
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        log_in(stack, "verify-full", tmp_path / "missing.crt")
    make_certificates(tmp_path / "other", ["localhost"], days=2)
    with pytest.raises(psycopg2.OperationalError, match="certificate verify failed"):
        log_in(stack, "verify-full", tmp_path / "other" / "authority.crt")


def test_the_keys_are_closed_to_the_components(stack: Stack, authority: Path) -> None:
    folder = "/var/lib/ecommerce-dw/certificates"
    for container in stack.containers(*ROLLED):
        shown = stack.engine.call("exec", container, "stat", "-c", "%U %a %n", f"{folder}/authority.key",
                                  f"{folder}/server.key")  # fmt: skip
        assert [line.split()[:2] for line in shown.splitlines()] == [["root", "600"]] * 2


def test_a_certificate_is_renewed_under_sessions(stack: Stack, authority: Path) -> None:
    session = log_in(stack, "verify-full", authority)
    before = serial_number(stack, authority)
    done = stack.run("certificates")
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 10  # it reads them in its own time
    while serial_number(stack, authority) == before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert serial_number(stack, authority) != before
    with session.cursor() as cursor:
        cursor.execute("select count(*) > 0 from marts.sales_summary")
        assert cursor.fetchone() == (True,)
    assert log_in(stack, "verify-full", authority).info.ssl_in_use

    assert stack.run("certificates", "--days", "20").returncode == 0
    problems = json.loads(stack.run("status", "--json").stdout)["problems"]
    assert any("certificate ends" in problem for problem in problems), problems
    assert stack.run("certificates").returncode == 0
    refused = stack.run("certificates", "--host", "elsewhere")
    assert refused.returncode == 2 and "no --host" in refused.stderr


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
    assert stack.ways("warehouse") == ({"TLS"} if stack.has_tls else {"plain"})
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


def test_what_was_lost_and_what_was_damaged_comes_back_from_a_backup(
    stack: Stack, figure: Callable[..., None]
) -> None:
    def restore() -> float:
        started = time.monotonic()
        done = stack.run("restore", str(backup), "--yes", "--drop-old")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "every fingerprint the backup's" in done.stdout
        return time.monotonic() - started

    def runs() -> set[str]:
        return set(stack.metadata("select run_id from dag_run").split())

    before, backup, earlier = stack.fingerprint(), stack.folder / "backups" / "drill", runs()
    backup.parent.mkdir()
    backup.parent.chmod(0o777)  # for the containers' user
    taken = stack.run("backup", str(backup), "--json")
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["folder"] == str(backup)
    assert set(json.loads(taken.stdout)["tables"]) == {"warehouse", "airflow"}
    refused = stack.run("restore", str(backup), "--yes")
    assert refused.returncode == 1 and "The platform runs" in refused.stderr

    assert stack.run("stop").returncode == 0
    stack.compose("down", "--volumes")
    seconds = restore()
    figure("time to restore, in seconds", "./deploy.sh restore, containers whose volumes were lost", seconds)
    stack.start_servers()
    assert stack.fingerprint() == before

    damage = "truncate raw.ecommerce__orders, warehouse.fact_orders, marts.sales_summary"
    assert stack.run("psql", "-c", damage).returncode == 0
    damaged = stack.fingerprint()
    assert damaged != before
    assert stack.run("stop").returncode == 0
    asked = stack.run("restore", str(backup))
    assert asked.returncode == 1 and "Nothing was changed" in asked.stderr and "--yes" in asked.stderr
    stack.start_servers()
    assert stack.fingerprint() == damaged
    assert stack.run("stop").returncode == 0
    figure("time to restore, in seconds", "./deploy.sh restore, containers", restore())

    up = stack.run("dev", "--containers", "--workers", "2", *SAMPLE)
    assert up.returncode == 0, up.stdout + up.stderr
    assert stack.fingerprint() == before
    assert earlier and earlier <= runs(), "Airflow's history"


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
