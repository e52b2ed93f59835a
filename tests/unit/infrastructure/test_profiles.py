"""The profiles monitoring and mail of docker-compose.yml, and what `./deploy.sh dev --with` makes of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ecommerce_dw.settings import PROJECT_DIR, Settings

MONITORING = {"statsd-exporter", "metrics", "prometheus", "grafana"}
MAIL = {"mailpit"}
SERVICES: dict[str, Any] = yaml.safe_load((PROJECT_DIR / "docker-compose.yml").read_text())["services"]


def succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def docker_compose() -> str | None:
    """How Docker's compose is called here; it reads files without any engine."""
    if shutil.which("docker") and succeeds("docker", "compose", "version"):
        return "docker compose"
    return (
        "docker-compose" if shutil.which("docker-compose") and succeeds("docker-compose", "version") else None
    )


def podman_compose() -> str | None:
    program = Path(sys.executable).with_name("podman-compose")
    return str(program) if shutil.which("podman") and program.exists() else None


@pytest.mark.parametrize("find", [docker_compose, podman_compose])
def test_compose_adds_the_services_of_a_profile(find: Callable[[], str | None], tmp_path: Path) -> None:
    compose = find()
    if compose is None:
        pytest.skip("it is not installed here")

    def services(*profiles: str) -> set[str]:
        arguments = [f"--profile={name}" for name in profiles]
        done = subprocess.run(
            [*compose.split(), *arguments, "config"],
            cwd=PROJECT_DIR,
            env=without_settings() | {"ECOMMERCE_DW_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return set(yaml.safe_load(done.stdout)["services"])

    plain = services("dev")
    assert not plain & (MONITORING | MAIL)
    # Podman's compose shows every service, whatever the profiles.
    if find is docker_compose:
        assert services("dev", "monitoring") == plain | MONITORING
    assert services("dev", "monitoring", "mail") >= plain | MONITORING | MAIL


def without_settings() -> dict[str, str]:
    """This process's environment without the platform's settings, and without an engine."""
    documented = re.findall(r"^#([A-Z_]+)=", (PROJECT_DIR / ".env.example").read_text(), flags=re.MULTILINE)
    kept = {name: value for name, value in os.environ.items() if name not in documented}
    return kept | {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


def prepared(home: Path, *arguments: str, **settings: str) -> tuple[dict[str, str], str]:
    """What deploy.sh gives the containers before it asks the engine, which is away; its last words."""
    compose = docker_compose()
    if compose is None:
        pytest.skip("Docker's compose is not installed here")
    done = subprocess.run(
        [str(PROJECT_DIR / "deploy.sh"), "dev", "--containers", *arguments],
        env=without_settings() | {"ECOMMERCE_DW_HOME": str(home), "COMPOSE": compose} | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    file = home / "containers" / "settings.env"
    lines = file.read_text().splitlines() if file.exists() else []
    return dict(line.split("=", 1) for line in lines), done.stderr


def test_airflow_sends_metrics_and_mail_to_what_is_beside_it(tmp_path: Path) -> None:
    assert "STATSD_HOST" not in prepared(tmp_path)[0]
    given, _ = prepared(tmp_path, "--with", "monitoring,mail")
    expected = {
        "STATSD_HOST": "statsd-exporter",
        "STATSD_PORT": "9125",
        "SMTP_HOST": "mailpit",
        "SMTP_PORT": "1025",
        "ALERT_MAIL_TO": "operators@localhost",
    }
    assert {name: given.get(name) for name in expected} == expected
    assert not [name for name in given if name.startswith(("GRAFANA", "PROMETHEUS", "MONITOR"))]
    # Settings that the platform reads, which take mail and metrics as they are given.
    settings = Settings(_env_file=None, **{name.lower(): value for name, value in expected.items()})
    assert (settings.statsd_port, settings.smtp_port) == (9125, 1025)
    # Remembered.
    assert prepared(tmp_path)[0]["STATSD_HOST"] == "statsd-exporter"
    assert (tmp_path / "containers" / "with").read_text() == "monitoring,mail"


def test_given_hosts_are_kept(tmp_path: Path) -> None:
    own = {"STATSD_HOST": "collector", "SMTP_HOST": "mail.example.com", "ALERT_MAIL_TO": "you@example.com"}
    given, _ = prepared(tmp_path, "--with=monitoring,mail", **own)
    assert {name: given.get(name) for name in own} == own
    assert "STATSD_PORT" not in given and "SMTP_PORT" not in given


def test_a_profile_named_in_the_settings_counts_as_well(tmp_path: Path) -> None:
    given, _ = prepared(tmp_path, COMPOSE_PROFILES="dev,mail")
    assert given["SMTP_HOST"] == "mailpit" and "STATSD_HOST" not in given


def test_passwords_are_files_in_a_folder_that_only_the_owner_enters(tmp_path: Path) -> None:
    prepared(tmp_path, "--with", "monitoring", GRAFANA_ADMIN_PASSWORD="opens-grafana")
    folder = tmp_path / "containers" / "secrets"
    assert (folder / "grafana_admin_password").read_text() == "opens-grafana"
    made = (folder / "monitor_password").read_text()
    assert len(made) > 40
    assert folder.stat().st_mode & 0o777 == 0o700
    prepared(tmp_path)
    assert (folder / "monitor_password").read_text() == made
    given = (tmp_path / "containers" / "settings.env").read_text()
    assert made not in given and "opens-grafana" not in given


@pytest.mark.parametrize("wrong", ["everything", "", "monitoring,mails"])
def test_a_profile_that_is_none_is_refused(tmp_path: Path, wrong: str) -> None:
    given, said = prepared(tmp_path, "--with", wrong)
    assert "--with takes monitoring, mail, both separated by a comma, or none." in said
    assert given == {} and not (tmp_path / "mode").exists()


def test_with_is_for_containers(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(PROJECT_DIR / "deploy.sh"), "dev", "--with=mail"],
        env=without_settings() | {"ECOMMERCE_DW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "--with is for containers: ./deploy.sh dev --containers --with" in done.stderr


@pytest.mark.parametrize("name", sorted(MONITORING | MAIL))
def test_each_service_is_watched_bounded_and_without_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["profiles"] == ["mail" if name in MAIL else "monitoring"]
    assert service["healthcheck"]["test"][0] == "CMD" and service["cap_drop"] == ["ALL"]
    assert service["read_only"] and service["restart"] == "unless-stopped"
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    # Pinned: neither `latest`, nor nothing.
    if name != "metrics":
        assert re.fullmatch(r"\$\{[A-Z_]+_IMAGE:-[a-z]+/[a-z-]+:v?\d+\.\d+\.\d+\}", service["image"])


def test_each_service_reaches_what_it_must_and_knows_what_it_needs() -> None:
    networks = {name: set(SERVICES[name]["networks"]) for name in MONITORING | MAIL}
    assert networks == {
        "statsd-exporter": {"api", "monitoring"},
        "metrics": {"warehouse", "monitoring"},
        "prometheus": {"monitoring"},
        "grafana": {"warehouse", "monitoring"},
        "mailpit": {"api"},
    }
    secrets = {name: set(SERVICES[name].get("secrets", ())) for name in MONITORING | MAIL}
    assert secrets == {
        "statsd-exporter": set(),
        "metrics": {"monitor_password"},
        "prometheus": set(),
        "grafana": {"monitor_password", "grafana_admin_password"},
        "mailpit": set(),
    }
    # Who sends metrics and mail reaches who takes them.
    for sender in (
        "airflow-scheduler",
        "airflow-dag-processor",
        "airflow-triggerer",
        "airflow-worker",
        "init",
    ):
        assert "api" in SERVICES[sender]["networks"]


def test_what_is_mounted_from_the_checkout_is_there_and_read_only() -> None:
    for name in MONITORING | MAIL:
        for mount in SERVICES[name].get("volumes", ()):
            if mount.startswith("./"):
                source, _, mode = mount.split(":")
                assert (PROJECT_DIR / source).exists() and mode == "ro", mount
