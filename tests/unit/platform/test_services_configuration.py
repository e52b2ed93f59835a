"""What Airflow is told where its components are services of their own, and where workers run the tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ecommerce_dw.platform.broker import broker_url, redis_component, socket_file
from ecommerce_dw.platform.configuration import airflow_options, installation_secrets
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.orchestrator import components
from ecommerce_dw.settings import PROJECT_DIR, Settings


def settings_of(home: Path, **values: object) -> Settings:
    return Settings(_env_file=None, **{"ecommerce_dw_home": home} | values)


def test_without_workers_the_scheduler_runs_the_tasks(tmp_path: Path) -> None:
    options = airflow_options(settings_of(tmp_path))
    assert options["core"]["executor"] == "LocalExecutor"
    assert "celery" not in options and "metrics" not in options
    assert [component.name for component in components(settings_of(tmp_path))] == [
        "api-server", "scheduler", "dag-processor", "triggerer"
    ]  # fmt: skip


def test_workers_of_a_given_redis_need_none_installed(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, airflow_workers=2, redis_host="queue", redis_password="p@ss/word")
    assert airflow_options(settings)["core"]["executor"] == "CeleryExecutor"
    assert broker_url(settings) == "redis://:p%40ss%2Fword@queue:6379/0"
    names = [component.name for component in components(settings)]
    assert names[-2:] == ["worker-1", "worker-2"] and "redis" not in names


def test_the_socket_of_our_own_redis_fits_into_its_address(tmp_path: Path) -> None:
    deep = settings_of(tmp_path / ("long" * 40), airflow_workers=1)
    assert len(str(socket_file(deep))) < 107
    assert socket_file(deep) != socket_file(settings_of(tmp_path, airflow_workers=1))


def test_a_missing_redis_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlatformError, match=r"no redis-server on PATH.*REDIS_HOST.*--workers"):
        redis_component(settings_of(tmp_path, airflow_workers=1))


def test_metadata_may_have_a_server_of_their_own(tmp_path: Path) -> None:
    here = settings_of(tmp_path, warehouse_host="w", warehouse_user="w_owner")
    assert (here.metadata.host, here.metadata.warehouse_user) == ("w", "w_owner")
    there = settings_of(tmp_path, warehouse_host="w", airflow_db_host="m", airflow_db_password="secret")
    address = airflow_options(there)["database"]["sql_alchemy_conn"]
    assert address == "postgresql+psycopg2://airflow:secret@m:5432/airflow?sslmode=prefer"


def test_services_reach_the_api_server_by_its_host(tmp_path: Path) -> None:
    options = airflow_options(settings_of(tmp_path, airflow_host="api", airflow_port=8081))
    assert options["core"]["execution_api_server_url"] == "http://api:8081/execution/"
    assert options["api"]["host"] == "0.0.0.0"


def test_tasks_of_services_bear_a_rolled_api_server(tmp_path: Path) -> None:
    def limits(settings: Settings) -> tuple[str, dict[str, str]]:
        options = airflow_options(settings)
        return options["scheduler"]["task_instance_heartbeat_timeout"], options.get("workers", {})

    assert limits(settings_of(tmp_path)) == ("30", {})
    assert limits(settings_of(tmp_path, airflow_host="api")) == ("120", {"max_failed_heartbeats": "24"})


def test_given_keys_are_used_and_none_is_made(tmp_path: Path) -> None:
    keys = {"airflow_fernet_key": "f", "airflow_jwt_secret": "j", "airflow_api_secret_key": "a"}
    assert installation_secrets(settings_of(tmp_path, **keys)) == {
        "fernet_key": "f", "jwt_secret": "j", "api_secret_key": "a"
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_secrets_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANALYST_PASSWORD", raising=False)
    (tmp_path / "analyst_password").write_text("from a file\n")
    settings = Settings(_env_file=None, _secrets_dir=tmp_path)
    assert settings.analyst_password.get_secret_value() == "from a file"


def test_no_container_has_rights_an_open_port_or_a_secret_in_its_environment() -> None:
    composed = yaml.safe_load((PROJECT_DIR / "docker-compose.yml").read_text())
    for name, service in composed["services"].items():
        assert service["read_only"] and "no-new-privileges:true" in service["security_opt"], name
        assert "memory" in service["deploy"]["resources"]["limits"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for variable, value in service.get("environment", {}).items():
            is_file = str(value).startswith("/run/secrets/")
            assert is_file or not variable.endswith(("PASSWORD", "_KEY", "_SECRET")), f"{name} {variable}"


def test_certificates_are_written_by_the_service_that_makes_them_alone() -> None:
    services = yaml.safe_load((PROJECT_DIR / "docker-compose.yml").read_text())["services"]
    mounts = {
        name: volume
        for name, service in services.items()
        for volume in service.get("volumes", [])
        if volume.startswith("certificates:")
    }
    assert {"warehouse", "airflow-db", "airflow-worker", "metrics", "grafana"} <= set(mounts)
    assert {name for name, volume in mounts.items() if not volume.endswith(":ro")} == {"certificates"}


def test_a_worker_has_no_way_to_the_metadata() -> None:
    services = yaml.safe_load((PROJECT_DIR / "docker-compose.yml").read_text())["services"]
    assert not set(services["airflow-worker"]["networks"]) & set(services["airflow-db"]["networks"])
    assert "airflow_db_password" not in services["airflow-worker"]["secrets"]
