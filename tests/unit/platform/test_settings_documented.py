"""The settings, the file that documents them, and the help texts agree."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest
from pydantic import SecretStr

from ecommerce_dw.commands.platform import command as platform_command
from ecommerce_dw.settings import PROJECT_DIR, Settings, secret_names

#: Read by deploy.sh before there is a Python to ask.
OF_DEPLOY_SH = {"PYTHON", "INSTALLER", "COMPOSE", "COMPOSE_PROFILES"}

#: Of a container alone, which deploy.sh makes a file of.
OF_A_SECRET_FILE = {"GRAFANA_ADMIN_PASSWORD"}

#: Read by docker-compose.yml.
OF_COMPOSE = {
    "COMPOSE_PROJECT_NAME",
    "LANDING_ROOT",
    "ECOMMERCE_DW_IMAGE",
    "PYTHON_IMAGE",
    "POSTGRES_IMAGE",
    "REDIS_IMAGE",
    "STATSD_EXPORTER_IMAGE",
    "PROMETHEUS_IMAGE",
    "GRAFANA_IMAGE",
    "MAILPIT_IMAGE",
    "GRAFANA_PORT",
    "PROMETHEUS_PORT",
    "PROMETHEUS_RETENTION",
    "MAIL_UI_PORT",
}

#: These, or one per source, or one per secret.
NOT_FIELDS = (
    OF_DEPLOY_SH
    | OF_COMPOSE
    | OF_A_SECRET_FILE
    | {"LANDING_ECOMMERCE", "LANDING_ONLINE_RETAIL", "LANDING_SALES"}
    | {f"{name}_FILE" for name in secret_names()}
)


def documented() -> dict[str, str]:
    text = (PROJECT_DIR / ".env.example").read_text()
    return dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, flags=re.MULTILINE))


def test_env_example_documents_every_setting_and_no_other() -> None:
    assert set(documented()) - NOT_FIELDS == {name.upper() for name in Settings.model_fields}


def test_every_secret_may_come_from_a_file_and_says_so() -> None:
    assert {name for name in documented() if name.endswith("_FILE")} == {
        f"{name}_FILE" for name in secret_names()
    }


def test_every_setting_is_used() -> None:
    sources = [
        path.read_text()
        for folder in ("airflow", "data-generation", "dbt")
        for path in sorted((PROJECT_DIR / folder).rglob("*"))
        if path.suffix in (".py", ".sql", ".yml") and path.name != "settings.py"
    ]
    own = (PROJECT_DIR / "airflow/include/ecommerce_dw/settings.py").read_text()
    for name in Settings.model_fields:
        # Outside the class, or by a property of it.
        is_used = any(f".{name}" in source for source in sources) or f"self.{name}" in own
        assert is_used, f"{name.upper()} is documented and nothing reads it"


def test_env_example_shows_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in documented():
        monkeypatch.delenv(name, raising=False)
    defaults = Settings(_env_file=None)
    for name, shown in documented().items():
        if name in NOT_FIELDS:
            continue
        value = getattr(defaults, name.lower())
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, bool):
            assert shown == str(value).lower()
        elif value is None:
            assert shown == "", name
        elif isinstance(value, Path):
            assert PROJECT_DIR / shown == value
        else:
            assert shown == str(value), name


def test_env_example_names_every_source() -> None:
    sources = {
        path.name.upper() for path in Settings(_env_file=None).contracts_dir.iterdir() if path.is_dir()
    }
    assert {f"LANDING_{source}" for source in sources} == {
        name for name in documented() if name.startswith("LANDING_") and name not in OF_COMPOSE
    }


def test_settings_outside_python_are_used() -> None:
    scripts = "".join(
        (PROJECT_DIR / name).read_text() for name in ("deploy.sh", "infrastructure/containers.sh")
    )
    assert {name for name in OF_DEPLOY_SH if f"setting {name})" not in scripts} == set()
    composed = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", (PROJECT_DIR / "docker-compose.yml").read_text()))
    assert OF_COMPOSE - set(composed) == set()
    for name in OF_COMPOSE - {"LANDING_ROOT"}:
        assert documented()[name] == composed[name], name
    for name in OF_A_SECRET_FILE:
        # in development; in production it is random
        assert re.search(f'"\\$folder/{name.lower()}" .*echo {documented()[name]}\\)', scripts)
        assert f"/secrets/{name.lower()}\n" in (PROJECT_DIR / "docker-compose.yml").read_text()


def commands() -> dict[str, click.Command]:
    assert isinstance(platform_command, click.Group)
    return platform_command.commands


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_of_deploy_sh_names_every_option(name: str) -> None:
    shown = subprocess.run(
        [str(PROJECT_DIR / "deploy.sh"), name, "--help"], capture_output=True, text=True, check=True
    ).stdout
    for parameter in commands()[name].params:
        if isinstance(parameter, click.Option) and parameter.name != "quiet":
            for option in parameter.opts:
                assert option in shown, f"{name} --help does not name {option}"


def test_help_of_deploy_sh_names_every_command() -> None:
    shown = subprocess.run(
        [str(PROJECT_DIR / "deploy.sh"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"^  ([a-z]+)  ", shown, flags=re.MULTILINE)) == set(commands())


def test_lock_names_no_index_and_pins_every_package_by_hash() -> None:
    lock = (PROJECT_DIR / "requirements.lock").read_text()
    assert not re.search(r"https?://|^--|@ file", lock, flags=re.MULTILINE)
    blocks = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE | re.IGNORECASE)[1:]
    assert len(blocks) > 100
    for block in blocks:
        assert re.match(r"^[A-Za-z0-9._-]+==\S+", block) and "--hash=sha256:" in block, block
