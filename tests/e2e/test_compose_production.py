"""`./deploy.sh prod --containers`: refused, deployed, upgraded under a running DAG, and back again.

The tests of this module are one story on one installation and run in order. Images or their stand-ins, and
when all is skipped: as in test_compose.
"""

from __future__ import annotations

import datetime as dt
import socket
import subprocess
from collections.abc import Iterator

import pytest

from ecommerce_dw.settings import Settings
from shop_simulator import generate
from tests.e2e.checkout import make_checkout
from tests.e2e.running import tables, undisturbed
from tests.e2e.stack import ROLLED, Stack, engine_and_images
from tests.support.receivers import receiving_mail

pytestmark = pytest.mark.slow

SCALE = 0.3
FIRST, LAST = dt.date(2026, 1, 1), dt.date(2026, 1, 10)
NEXT = LAST + dt.timedelta(days=1)
SERVERS = ("warehouse", "airflow-db", "redis")
SECRETS = {
    "WAREHOUSE_PASSWORD": "owner-of-the-warehouse",
    "LOADER_PASSWORD": "loads-what-has-landed",
    "TRANSFORMER_PASSWORD": "builds-with-dbt-only",
    "ANALYST_PASSWORD": "reads-and-nothing-else",
    "AIRFLOW_ADMIN_PASSWORD": "looks-after-the-dags",
}


def address_of_this_machine() -> str:
    """Where containers reach this machine: nothing is sent, the system only chooses a way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect(("192.0.2.1", 9))
        return str(way.getsockname()[0])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An installation whose settings are complete, and of which nothing runs yet."""
    engine, images = engine_and_images()
    folder = tmp_path_factory.mktemp("compose-production")
    folder.chmod(0o755)
    for name in ("landing", "backups"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)  # for the containers' user
    generate(folder / "landing" / "ecommerce", first=FIRST, last=LAST, scale=SCALE)
    generate(folder / "days", opening=FIRST, first=NEXT, last=NEXT, scale=SCALE)
    checkout = make_checkout(folder / "checkout", small_dag=False)
    host = address_of_this_machine()
    with receiving_mail(host) as inbox:
        made = Stack(
            engine,
            folder,
            images,
            folder / "days",
            checkout.folder,
            SECRETS
            | {
                "ECOMMERCE_DW_ENVIRONMENT": "production",
                "BACKUP_DIR": str(folder / "backups"),
                "SMTP_HOST": host,
                "SMTP_PORT": str(inbox.port),
                "ALERT_MAIL_TO": "night@example.com",
            },
        )
        try:
            yield made
        finally:
            made.settings["COMPOSE_PROFILES"] = "prod"
            del made.settings["BACKUP_DIR"]  # the first test had none, but a volume in its place
            made.compose("down", "--volumes", "--remove-orphans", "--timeout", "20")
            for image in images_of(made):
                subprocess.run([engine.program, "image", "rm", "--force", image])


@pytest.fixture(scope="module")
def deployed(stack: Stack) -> Stack:
    done = stack.run("prod", "--containers")
    assert done.returncode == 0, done.stderr
    assert "is in service" in done.stdout and "Smoke test: " in done.stdout
    return stack


def images_of(stack: Stack) -> list[str]:
    """Images of this installation's releases."""
    return stack.engine.call(
        "images", "--format", "{{.Repository}}:{{.Tag}}", f"localhost/{stack.name}"
    ).split()


def release(stack: Stack, link: str = "current") -> str:
    return (stack.folder / "home" / link).resolve().name


def runs_whole(stack: Stack, name: str) -> bool:
    """Whether every component runs from a release's image, and it is the one in service."""
    images = {
        stack.engine.call("inspect", "--format", "{{.Config.Image}}", container)
        for container in stack.containers(*ROLLED)
    }
    return release(stack) == name and images == {f"localhost/{stack.name}:{name}"}


def change(stack: Stack, text: str) -> None:
    """Make the checkout another version, which does the same."""
    with (stack.project / ".env.example").open("a") as file:
        file.write(f"# {text}\n")


def test_an_incomplete_configuration_is_refused_with_the_whole_list(stack: Stack) -> None:
    complete = dict(stack.settings)
    stack.settings.clear()
    done = stack.run("prod", "--containers")
    stack.settings.update(complete)
    assert done.returncode == 1
    for where in ("ECOMMERCE_DW_ENVIRONMENT", *SECRETS, "BACKUP_DIR", "SMTP_HOST"):
        assert f"where: {where}" in done.stdout, where
    assert "Nothing was changed" in done.stdout
    assert stack.containers() == []
    assert not (stack.folder / "home" / "current").exists()


def test_the_first_deployment_runs_everything_from_its_image(deployed: Stack) -> None:
    assert runs_whole(deployed, release(deployed))
    assert deployed.metadata("select is_paused from dag where dag_id = 'ecommerce_etl_pipeline'") == "f"
    assert (
        deployed.wait_for_end(
            deployed.metadata("select run_id from dag_run where run_type = 'scheduled' order by id limit 1")
        )
        == "success"
    )
    assert deployed.metadata("select dag_id from dag where dag_id = 'simulate_shop_day'") == ""
    for command in (("dev",), ("reset", "--yes")):
        refused = deployed.run(*command)
        assert refused.returncode == 1 and "production" in refused.stderr


def test_an_upgrade_under_a_running_dag_leaves_no_trace(
    deployed: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, servers = release(deployed), deployed.containers(*SERVERS)
    deployed.land(NEXT)
    run_id = deployed.trigger(NEXT)
    deployed.wait_for_task(run_id, "build_warehouse")
    change(deployed, "second")
    done = deployed.run("prod", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert release(deployed, "previous") == first != release(deployed)
    assert runs_whole(deployed, release(deployed))
    assert len(deployed.containers("airflow-worker")) == 2
    assert sorted(deployed.containers(*SERVERS)) == sorted(servers)
    assert deployed.wait_for_end(run_id) == "success"
    monkeypatch.setenv("LANDING_ECOMMERCE", str(deployed.landing / "ecommerce"))
    assert tables(deployed) == undisturbed(settings, FIRST, NEXT)


def test_a_release_whose_dag_is_broken_goes_back(deployed: Stack) -> None:
    good = release(deployed)
    dag = deployed.project / "airflow" / "dags" / "ecommerce_etl_dag.py"
    text = dag.read_text()
    dag.write_text(text + "\nimport no_such_module\n")
    done = deployed.run("prod")
    dag.write_text(text)
    assert done.returncode == 1
    assert "No module named 'no_such_module'" in done.stderr
    assert f"Rolled back: every component runs {good} again" in done.stderr
    assert runs_whole(deployed, good)


def test_rollback_goes_to_the_release_before(deployed: Stack) -> None:
    second, first = release(deployed), release(deployed, "previous")
    done = deployed.run("prod", "--rollback")
    assert done.returncode == 0, done.stderr
    assert release(deployed, "previous") == second
    assert runs_whole(deployed, first)
