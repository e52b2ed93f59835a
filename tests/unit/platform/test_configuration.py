"""What the platform's programs are given."""

from __future__ import annotations

import configparser
import datetime as dt
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from ecommerce_dw.platform.configuration import (
    airflow_home,
    installation_secrets,
    program_environment,
    write_configuration,
)
from ecommerce_dw.platform.orchestrator import last_interval
from ecommerce_dw.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, ecommerce_dw_home=tmp_path, warehouse_password="p%a:s\\s w'ord")


def test_secrets_are_made_once_and_private(settings: Settings, tmp_path: Path) -> None:
    first = installation_secrets(settings)
    assert installation_secrets(settings) == first
    assert len(set(first.values())) == 3
    other = Settings(_env_file=None, ecommerce_dw_home=tmp_path / "other")
    assert installation_secrets(other) != first


def test_files_with_secrets_are_private(settings: Settings) -> None:
    write_configuration(settings)
    for path in (
        settings.home / "secrets.json",
        airflow_home(settings) / "pgpass",
        airflow_home(settings) / "airflow.cfg",
        airflow_home(settings) / "passwords.json",
    ):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_everything_listens_on_loopback_alone(settings: Settings) -> None:
    write_configuration(settings)
    parser = configparser.ConfigParser()  # Airflow's own way of reading: with interpolation
    parser.read(airflow_home(settings) / "airflow.cfg")
    assert parser["api"]["host"] == "127.0.0.1"
    assert parser["core"]["execution_api_server_url"].startswith("http://127.0.0.1:")


def test_password_with_special_characters_survives(settings: Settings) -> None:
    write_configuration(settings)
    parser = configparser.ConfigParser()
    parser.read(airflow_home(settings) / "airflow.cfg")
    assert "p%25a" in parser["database"]["sql_alchemy_conn"]
    assert "warehouse:p%a\\:s\\\\s w'ord" in (airflow_home(settings) / "pgpass").read_text()


def test_same_settings_write_the_same_file(settings: Settings) -> None:
    first = write_configuration(settings)
    written = (airflow_home(settings) / "airflow.cfg").stat().st_mtime_ns
    assert write_configuration(settings) == first
    assert (airflow_home(settings) / "airflow.cfg").stat().st_mtime_ns == written


def test_variables_of_another_installation_are_left_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = {
        "AIRFLOW__CORE__DAGS_FOLDER": "/elsewhere",
        "AIRFLOW_CONFIG": "/elsewhere/airflow.cfg",
        "PGSSLMODE": "require",
        "PGPASSWORD": "secret",
        "DBT_TARGET": "prod",
        "PYTHONPATH": "/elsewhere",
    }
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW_HOME", "/elsewhere")
    monkeypatch.setenv("NO_PROXY", "example.org")
    environment = program_environment(settings)
    assert foreign.keys() & environment.keys() == {"PGSSLMODE"}
    assert environment["PGSSLMODE"] == settings.warehouse_sslmode != foreign["PGSSLMODE"]
    assert environment["AIRFLOW_HOME"] == str(airflow_home(settings))
    assert environment["NO_PROXY"] == "example.org,127.0.0.1,localhost"


def test_the_variables_of_an_object_store_reach_the_tasks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "AWS_PROFILE": "nightly",
        "AWS_ENDPOINT_URL": "http://store.example",
        "AWS_REGION": "eu-west-1",
        "GOOGLE_APPLICATION_CREDENTIALS": "/keys/nightly.json",
        "AZURE_STORAGE_ACCOUNT_NAME": "nightly",
        "LANDING_ECOMMERCE": "s3://bucket/ecommerce",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert given.items() <= program_environment(settings).items()


def test_ui_login_is_the_one_that_is_shown(settings: Settings) -> None:
    write_configuration(settings)
    assert json.loads((airflow_home(settings) / "passwords.json").read_text()) == {"admin": "admin"}


@pytest.mark.parametrize(
    ("now", "logical_date"),
    [
        ("2026-03-10T02:00:00+00:00", "2026-03-09T02:00:00+00:00"),
        ("2026-03-10T01:59:59+00:00", "2026-03-08T02:00:00+00:00"),
        ("2026-03-10T23:00:00-05:00", "2026-03-10T02:00:00+00:00"),
    ],
)
def test_last_interval_is_the_schedules(now: str, logical_date: str) -> None:
    assert last_interval(dt.datetime.fromisoformat(now)) == dt.datetime.fromisoformat(logical_date)


@pytest.mark.parametrize(
    ("name", "greatest"),
    [
        ("lock_wait_seconds", 2_000_000),
        ("table_lock_wait_seconds", 2_000_000),
        ("connect_timeout_seconds", 3600),
        ("network_timeout_seconds", 3600),
        ("alert_timeout_seconds", 3600),
        ("alert_retry_seconds", 21_600),
    ],
)
def test_waits_that_no_server_or_socket_can_count_are_refused(name: str, greatest: int) -> None:
    for value in ("-1", str(greatest + 1), "inf", "nan"):
        with pytest.raises(ValidationError, match=name):
            Settings(_env_file=None, **{name: value})
    settings = Settings(_env_file=None, **{name: greatest})
    in_milliseconds = (settings.lock_timeout, settings.table_lock_timeout)
    assert all(int(value.removesuffix("ms")) < 2**31 for value in in_milliseconds)
