"""What the platform's programs read: Airflow's configuration, secrets, logins, environment variables.

Everything is written under the home, with mode 600 where a secret is in it, and only when it changed.
"""

from __future__ import annotations

import base64
import configparser
import io
import json
import os
import platform
import secrets
import sys
from pathlib import Path

from ecommerce_dw import db
from ecommerce_dw.platform.broker import broker_url
from ecommerce_dw.platform.postgres import binaries_dir
from ecommerce_dw.settings import PROJECT_DIR, Role, Settings

DAG_ID = "ecommerce_etl_pipeline"

#: Variables of another installation that must not reach our programs.
_FOREIGN_PREFIXES = ("AIRFLOW__", "PG", "DBT_", "AIRFLOW_CONN_", "AIRFLOW_VAR_")
_FOREIGN_NAMES = {
    "AIRFLOW_HOME",
    "AIRFLOW_CONFIG",
    "PYTHONPATH",
    "PYTHONHOME",
    # Without compiled files each of our programs starts 2 to 8 s later; they go under the home.
    "PYTHONDONTWRITEBYTECODE",
    "VIRTUAL_ENV",
}

_LOOPBACK = "127.0.0.1,localhost"


def airflow_home(settings: Settings) -> Path:
    """AIRFLOW_HOME of this installation."""
    return settings.home / "airflow"


def task_log_dir(settings: Settings) -> Path:
    """Folder of the tasks' logs."""
    return settings.home / "logs" / "tasks"


def installation_secrets(settings: Settings) -> dict[str, str]:
    """Secrets of this installation, set or generated once: `fernet_key`, `jwt_secret`, `api_secret_key`."""
    given = {
        "fernet_key": settings.airflow_fernet_key.get_secret_value(),
        "jwt_secret": settings.airflow_jwt_secret.get_secret_value(),
        "api_secret_key": settings.airflow_api_secret_key.get_secret_value(),
    }
    if all(given.values()):
        return given
    return _generated_secrets(settings) | {name: value for name, value in given.items() if value}


def _generated_secrets(settings: Settings) -> dict[str, str]:
    path = settings.home / "secrets.json"
    if path.exists():
        known: dict[str, str] = json.loads(path.read_text())
        return known
    made = {
        "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "jwt_secret": secrets.token_urlsafe(48),
        "api_secret_key": secrets.token_urlsafe(48),
    }
    write_private(path, json.dumps(made, indent=2) + "\n")
    return made


def local_url(settings: Settings) -> str:
    """Address of the UI on this machine, whatever proxy is before it."""
    return f"http://localhost:{settings.airflow_port}"


def airflow_options(settings: Settings) -> dict[str, dict[str, str]]:
    """Airflow's configuration, section → option → value. Figures behind it: docs/decisions/0050."""
    keys = installation_secrets(settings)
    home = airflow_home(settings)
    core = {
        "dags_folder": str(PROJECT_DIR / "airflow" / "dags"),
        "plugins_folder": str(PROJECT_DIR / "airflow" / "plugins"),
        "load_examples": "False",
        "executor": "LocalExecutor",
        # The default, 32, forks 32 workers at once: 1.8 GB against 1.15 GB.
        "parallelism": "4",
        "fernet_key": keys["fernet_key"],
        "auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "simple_auth_manager_users": f"{settings.airflow_admin_user}:admin",
        "simple_auth_manager_passwords_file": str(home / "passwords.json"),
        "execution_api_server_url": f"{api_server_url(settings)}/execution/",
    }
    if platform.system() == "Linux":
        # What the scheduler has imported is shared with its workers only when they are forked.
        core["mp_start_method"] = "fork"
    # Seconds. A rolled api-server is away for a while: tasks of services go on, and nobody gives them up.
    absence = 30 if settings.has_own_airflow else 120
    if settings.has_workers:
        core |= {"executor": "CeleryExecutor", "parallelism": "16"}
    return {
        "core": core,
        "database": {
            "sql_alchemy_conn": db.sqlalchemy_url(settings=settings.metadata).render_as_string(
                hide_password=False
            ),
        },
        "logging": {
            "base_log_folder": str(task_log_dir(settings)),
            "json_logs": _json_logs(settings),
            **({"logging_level": settings.log_level.upper()} if settings.log_level else {}),
        },
        "scheduler": {
            # A chain of ten trivial tasks takes 10.2 s with the default of 1 s, 2.6 s with this.
            "scheduler_idle_sleep_time": "0.2",
            # A killed task is noticed within a minute; by default a rerun would wait for five.
            "task_instance_heartbeat_sec": "5",
            "task_instance_heartbeat_timeout": str(absence),
            "task_instance_heartbeat_timeout_detection_interval": "5",
            "orphaned_tasks_check_interval": "30",
        },
        **({} if settings.has_own_airflow else {"workers": {"max_failed_heartbeats": str(absence // 5)}}),
        "dag_processor": {"parsing_processes": "1", "min_file_process_interval": "60"},
        "api": {
            "host": "127.0.0.1" if settings.has_own_airflow else "0.0.0.0",
            "port": str(settings.airflow_port),
            "base_url": settings.airflow_base_url if settings.is_production else local_url(settings),
            "workers": "1",
            "secret_key": keys["api_secret_key"],
            "instance_name": f"E-commerce warehouse{'' if settings.is_production else ' (development)'}",
        },
        "api_auth": {"jwt_secret": keys["jwt_secret"]},
        **(_celery_options(settings) if settings.has_workers else {}),
        **(_metrics_options(settings) if settings.statsd_host else {}),
        **_lineage_options(settings),
    }


def api_server_url(settings: Settings) -> str:
    """Where Airflow's components, and we, reach the api-server."""
    return f"http://{settings.airflow_host or '127.0.0.1'}:{settings.airflow_port}"


def _json_logs(settings: Settings) -> str:
    return str(settings.log_format == "json")


def _celery_options(settings: Settings) -> dict[str, dict[str, str]]:
    return {
        "celery": {
            "broker_url": broker_url(settings),
            # Results in Redis, too: so a worker needs no way to Airflow's metadata.
            "result_backend": broker_url(settings),
            "worker_concurrency": "2",
            # The default asks for a process per core, at every look, for a handful of tasks.
            "sync_parallelism": "1",
            # The default of 1 s is too short on a busy machine; three of them in a row fail a task.
            "operation_timeout": "10",
            "task_logs_to_stdout": _json_logs(settings),
        },
        # A task that a dead worker held is tried again by the scheduler, which misses its heartbeat. Only a
        # message that got lost on its way waits for this (s): as long as a run may take.
        "celery_broker_transport_options": {"visibility_timeout": "14400"},
    }


def _metrics_options(settings: Settings) -> dict[str, dict[str, str]]:
    return {
        "metrics": {
            "statsd_on": "True",
            "statsd_host": settings.statsd_host,
            "statsd_port": str(settings.statsd_port),
        }
    }


def _lineage_options(settings: Settings) -> dict[str, dict[str, str]]:
    transports: list[dict[str, object]] = []
    if settings.openlineage_log:
        file = PROJECT_DIR / settings.openlineage_log.expanduser()
        transports.append({"type": "file", "log_file_path": str(file), "append": True})
    if settings.openlineage_url:
        transports.append(
            {
                "type": "http",
                "url": settings.openlineage_url,
                "timeout": settings.openlineage_timeout_seconds,
                "retry": {"total": 0},  # a task waits for it
            }
        )
    if not transports:
        return {"openlineage": {"disabled": "True"}}
    both = {"type": "composite", "continue_on_failure": True, "transports": transports}
    return {
        "openlineage": {
            "transport": json.dumps(both if len(transports) > 1 else transports[0]),
            "namespace": settings.openlineage_namespace,
            "extractors": "pipeline_lineage.PipelineExtractor",
            "disable_source_code": "True",
            "execution_timeout": str(settings.openlineage_timeout_seconds),
        }
    }


def as_started(settings: Settings) -> Settings:
    """The settings with the UI's port that the platform was started with, whatever was set since."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(airflow_home(settings) / "airflow.cfg")
    port = parser.getint("api", "port", fallback=settings.airflow_port)
    return settings.model_copy(update={"airflow_port": port})


def write_configuration(settings: Settings) -> str:
    """Write everything the platform's programs read; the text of Airflow's configuration.

    Raises:
        OSError: The home can't be written.
    """
    home = airflow_home(settings)
    for folder in (home, task_log_dir(settings), settings.home / "run"):
        folder.mkdir(parents=True, exist_ok=True)
    parser = configparser.ConfigParser(interpolation=None)
    for section, options in airflow_options(settings).items():
        # Airflow interpolates, so a per cent sign (in a password) is written twice.
        parser[section] = {name: value.replace("%", "%%") for name, value in options.items()}
    buffer = io.StringIO()
    buffer.write("# Written by ./deploy.sh dev at every start. Change settings in .env instead.\n")
    parser.write(buffer)
    text = buffer.getvalue()
    write_private(home / "airflow.cfg", text)
    login = {settings.airflow_admin_user: settings.airflow_admin_password.get_secret_value()}
    write_private(home / "passwords.json", json.dumps(login) + "\n")
    write_private(password_file(settings), _password_lines(settings))
    # Airflow looks for airflow_local_settings.py in this folder.
    link = home / "config"
    target = PROJECT_DIR / "airflow" / "config"
    if not link.is_symlink() or link.readlink() != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target, target_is_directory=True)
    return text


def password_file(settings: Settings) -> Path:
    """libpq's password file: every role of the warehouse logs in without being asked."""
    return airflow_home(settings) / "pgpass"


def own_variables(settings: Settings) -> dict[str, str]:
    """The variables that `./deploy.sh env` prints and every program of the platform gets, but for PATH."""
    variables = (
        settings.environment()
        | {
            "AIRFLOW_HOME": str(airflow_home(settings)),
            "PGHOST": settings.host,
            "PGPORT": str(settings.warehouse_port),
            "PGDATABASE": settings.warehouse_db,
            "PGUSER": settings.warehouse_user,
            "PGSSLMODE": settings.warehouse_sslmode,
            "PGPASSFILE": str(password_file(settings)),
        }
        | ({"PGSSLROOTCERT": settings.warehouse_sslrootcert} if settings.warehouse_sslrootcert else {})
    )
    if settings.has_own_airflow:  # an image has its compiled files beside the sources
        variables["PYTHONPYCACHEPREFIX"] = str(settings.home / "cache" / "python")
    return variables


def program_path() -> list[str]:
    """Folders to put before PATH: the environment's programs, then PostgreSQL's (psql, pg_dump …)."""
    return [str(Path(sys.prefix) / "bin"), str(binaries_dir())]


def program_environment(settings: Settings) -> dict[str, str]:
    """The whole environment of a program of the platform; another installation's variables are left out."""
    inherited = {name: value for name, value in os.environ.items() if not is_foreign(name)}
    path = os.pathsep.join([*program_path(), inherited.get("PATH", os.defpath)])
    variables = inherited | own_variables(settings) | {"PATH": path}
    # Tasks speak to the api-server over loopback, or by its service's name: never through a proxy.
    for name in ("NO_PROXY", "no_proxy"):
        variables[name] = ",".join(filter(None, [inherited.get(name), _LOOPBACK, settings.airflow_host]))
    return variables


def is_foreign(name: str) -> bool:
    """Whether a variable belongs to another Airflow, PostgreSQL, dbt or Python, and would mislead ours."""
    return name in _FOREIGN_NAMES or name.startswith(_FOREIGN_PREFIXES)


def foreign_names() -> list[str]:
    """Those variables in this process's environment that would mislead our programs."""
    return sorted(name for name in os.environ if is_foreign(name))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, at once or not at all; nothing when it says that already."""
    if path.exists() and path.read_text() == text and path.stat().st_mode & 0o777 == 0o600:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    building.replace(path)


def _password_lines(settings: Settings) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace(":", "\\:")

    lines = []
    roles: tuple[Role, ...] = ("owner", *settings.login_roles)
    for role in roles:
        user, password = settings.role_login(role)
        parts = (settings.host, str(settings.warehouse_port), "*", user, password)
        lines.append(":".join("*" if part == "*" else escaped(part) for part in parts))
    return "\n".join(lines) + "\n"
