"""Airflow as the platform drives it: its programs, its metadata, and one run of the pipeline.

Commands go through Airflow's command line; what is shown is read from its metadata database, which answers
also when no component runs.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

from ecommerce_dw.nightly import START_HOUR
from ecommerce_dw.platform import database, processes
from ecommerce_dw.platform.broker import answering_workers, redis_component
from ecommerce_dw.platform.configuration import (
    DAG_ID,
    airflow_home,
    api_server_url,
    program_environment,
    task_log_dir,
    write_private,
)
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.postgres import port_is_free
from ecommerce_dw.platform.processes import Component, Started
from ecommerce_dw.settings import PROJECT_DIR, Settings, get_settings
from ecommerce_dw.state import NextRun

#: Airflow's processes, in the order they are shown; job type in Airflow's metadata → name.
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
_JOB_TYPES = {"SchedulerJob": "scheduler", "DagProcessorJob": "dag-processor", "TriggererJob": "triggerer"}

#: A component whose last heartbeat is older is not healthy (s).
HEARTBEAT_LIMIT = 30.0

#: Name of the Airflow connection to the warehouse.
CONNECTION_ID = "warehouse"

_ACTIVE = ("queued", "running")
_ENDED_TASKS = ("success", "failed", "upstream_failed", "skipped", "removed")


@dataclass(frozen=True)
class DagRun:
    """A run of the pipeline as Airflow knows it."""

    run_id: str
    state: str
    run_type: str
    logical_date: dt.datetime | None
    queued_at: dt.datetime | None
    started_at: dt.datetime | None
    ended_at: dt.datetime | None

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.state in _ACTIVE

    @property
    def seconds(self) -> float | None:
        """How long it took, or None when it has not ended."""
        # `airflow dags test` queues nothing and puts the logical date in place of the start.
        if self.started_at is None or self.ended_at is None or self.queued_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class AirflowChange:
    """Another Airflow than the one that the metadata is for.

    Attributes:
        migrated: Version that migrated it last; None where this home does not know.
        installed: Version that is installed now.
    """

    migrated: str | None
    installed: str


@dataclass(frozen=True)
class TaskState:
    """A task of a run: its state in Airflow's words, the try it is at, and how long that took (s)."""

    task_id: str
    state: str | None
    try_number: int
    seconds: float | None


def components(settings: Settings, *, has_ui: bool = True) -> list[Component]:
    """The programs of Airflow, and Redis with the workers; without UI the api-server serves the tasks alone.

    Raises:
        PlatformError: There are to be workers, and there is no Redis for them.
    """
    names = [f"worker-{number}" for number in range(1, settings.airflow_workers + 1)]
    redis = [redis_component(settings)] if names and not settings.redis_host else []
    return redis + [
        Component(name, airflow_command(settings, name, has_ui=has_ui)) for name in (*COMPONENTS, *names)
    ]


def airflow_command(settings: Settings, name: str, *, has_ui: bool = True) -> tuple[str, ...]:
    """Command line of a component: one of `COMPONENTS`, `worker`, or `worker-N` where a host has several."""
    airflow = str(Path(sys.prefix) / "bin" / "airflow")
    # Task logs are read from the same disk, so no log servers, whose ports another Airflow may use.
    if name.startswith("worker"):
        worker = (airflow, "celery", "worker", "--skip-serve-logs", "--without-mingle", "--without-gossip")
        return worker if name == "worker" else (*worker, "--celery-hostname", f"{name}@%h")
    # Behind a proxy that is named, its word for the caller's address and scheme counts.
    proxied = ("--proxy-headers",) if settings.is_production and settings.airflow_url else ()
    return {
        "api-server": (airflow, "api-server", "--apps", "all" if has_ui else "execution", *proxied),
        "scheduler": (airflow, "scheduler", "--skip-serve-logs"),
        "dag-processor": (airflow, "dag-processor"),
        "triggerer": (airflow, "triggerer", "--skip-serve-logs"),
    }[name]


def digest(settings: Settings, component: Component, configuration: str) -> str:
    """What a running component depends on: when it differs, the component has to be started anew."""
    dotenv = PROJECT_DIR / ".env"
    lock = PROJECT_DIR / "requirements.lock"
    return processes.digest_of(
        [
            component.arguments,
            configuration,
            settings.model_dump(mode="json"),
            {
                name: value.get_secret_value()
                for name, value in settings
                if hasattr(value, "get_secret_value")
            },
            dotenv.read_text() if dotenv.exists() else "",
            lock.read_text() if lock.exists() else "",
        ]
    )


# --- preparing ---------------------------------------------------------------------------------------------


def start_migration(settings: Settings) -> subprocess.Popen[bytes] | None:
    """Begin to bring Airflow's metadata to the installed version; None when it is there already."""
    stamp = _metadata_stamp(settings)
    if stamp is not None and stamp == _migrated_version(settings):
        return None
    log = processes.log_file(settings.home, "airflow-migrate")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(Path(sys.prefix) / "bin" / "airflow"), "db", "migrate"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=settings.home,
            env=program_environment(settings),
        )


def finish_migration(settings: Settings, running: subprocess.Popen[bytes] | None) -> None:
    """Wait for what `start_migration` began.

    Raises:
        PlatformError: It failed; the message ends with its last words.
    """
    if running is None:
        return
    if running.wait() != 0:
        log = processes.log_file(settings.home, "airflow-migrate")
        raise PlatformError(
            f"Airflow's metadata could not be migrated. Its log {log} ends:\n"
            + "\n".join(processes.tail(log, 15))
        )
    write_private(_stamp_file(settings), _metadata_stamp(settings) or "")


def register_connection(settings: Settings) -> subprocess.Popen[bytes] | None:
    """Begin to store the warehouse as an Airflow connection; None when it is stored as it is now."""
    login = {
        "conn_type": "postgres",
        "description": "The e-commerce warehouse, as its owner",
        "host": settings.host,
        "port": settings.warehouse_port,
        "schema": settings.warehouse_db,
        "login": settings.warehouse_user,
        "password": settings.warehouse_password.get_secret_value(),
        "extra": settings.tls,
    }
    wanted = json.dumps({CONNECTION_ID: login})
    file = airflow_home(settings) / "connections.json"
    is_stored = bool(
        _rows(settings, "select 1 from connection where conn_id = %(name)s", {"name": CONNECTION_ID})
    )
    if is_stored and file.exists() and file.read_text() == wanted:
        return None
    write_private(file, wanted)
    log = processes.log_file(settings.home, "airflow-connections")
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(Path(sys.prefix) / "bin" / "airflow"), "connections", "import", "--overwrite", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=settings.home,
            env=program_environment(settings),
        )


def finish_registration(settings: Settings, running: subprocess.Popen[bytes] | None) -> None:
    """Wait for what `register_connection` began.

    Raises:
        PlatformError: It failed; the message ends with its last words.
    """
    if running is not None and running.wait() != 0:
        log = processes.log_file(settings.home, "airflow-connections")
        (airflow_home(settings) / "connections.json").unlink(missing_ok=True)
        raise PlatformError(
            f"The warehouse could not be stored as an Airflow connection. The log {log} ends:\n"
            + "\n".join(processes.tail(log, 15))
        )


# --- running -----------------------------------------------------------------------------------------------


def start_components(settings: Settings, configuration: str, *, has_ui: bool = True) -> list[str]:
    """Start what does not run, and start anew what runs with other settings.

    Returns:
        The names of the components that were started.

    Raises:
        PlatformError: The UI's port belongs to another program.
    """
    wanted = {
        component.name: (component, digest(settings, component, configuration))
        for component in components(settings, has_ui=has_ui)
    }
    stale = [
        name
        for name, (_, current) in wanted.items()
        if (known := processes.find(settings.home, name))
        and (known.leader() is None or known.digest != current)
    ]
    unwanted = [name for name in processes.remembered(settings.home) if name not in wanted]
    processes.stop(settings.home, stale + unwanted)  # also what a killed component left behind
    missing = [name for name in wanted if processes.find(settings.home, name) is None]
    if "api-server" in missing:
        need_free_port(settings)
    environment = program_environment(settings)
    for name in missing:
        component, current = wanted[name]
        processes.start(component, settings.home, environment, current)
    return missing


def need_free_port(settings: Settings) -> None:
    """Find out before the api-server is started whether it can have its port.

    Raises:
        PlatformError: It belongs to another program.
    """
    if not port_is_free(settings.airflow_port):
        raise PlatformError(
            f"Port {settings.airflow_port} on 127.0.0.1 is in use by another program. Stop that program, or "
            "set AIRFLOW_PORT to a free port (in .env or the environment) and run again."
        )


def wait_until_healthy(settings: Settings, *, timeout: float = 120.0) -> None:
    """Wait until every component runs and is healthy.

    Raises:
        PlatformError: One ended or did not come up; the message ends with its log's last lines.
    """
    deadline = time.monotonic() + timeout
    while True:
        states = health(settings)
        if all(state == "healthy" for state in states.values()):
            return
        for name, state in states.items():
            if state == "dead" or time.monotonic() > deadline:
                if state == "healthy":
                    continue
                if not settings.has_own_airflow:
                    raise PlatformError(
                        f"Airflow's {name} did not answer within {timeout:.0f} s. ./deploy.sh logs {name} "
                        "says why."
                    )
                log = processes.log_file(settings.home, name)
                raise PlatformError(
                    f"Airflow's {name} {'ended' if state == 'dead' else 'did not become healthy'}. "
                    f"Its log {log} ends:\n" + "\n".join(processes.tail(log, 20))
                )
        time.sleep(0.2)


def health(settings: Settings) -> dict[str, str]:
    """State of each component: healthy, starting (or hanging), dead (was started and is gone), stopped.

    Of components that are services of their own, what can be seen from here: healthy or no answer.
    """
    beats = _heartbeats(settings)
    if not settings.has_own_airflow:
        return _health_of_services(settings, beats)
    states: dict[str, str] = {}
    for name in component_names(settings):
        known = processes.find(settings.home, name)
        if known is None:
            states[name] = "stopped"
        elif known.leader() is None:
            states[name] = "dead"
        elif name == "api-server":
            states[name] = "healthy" if answers(settings) else "starting"
        elif name in COMPONENTS:
            is_alive = any(
                age < HEARTBEAT_LIMIT and started > known.created - 5 for age, started in beats.get(name, [])
            )
            states[name] = "healthy" if is_alive else "starting"
        else:
            # Tasks wait in Redis until a worker has come up, so nobody has to wait for it.
            states[name] = "healthy"
    return states


def answers(settings: Settings) -> bool:
    """Whether the api-server serves the tasks (it does with and without the UI)."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{api_server_url(settings)}/execution/health", timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError:
        return False
    except OSError:
        return False


def has_heartbeat(settings: Settings, name: str, host: str) -> bool:
    """Whether a component on a host (its full name) has told Airflow's metadata lately that it is alive."""
    job_type = next(job_type for job_type, known in _JOB_TYPES.items() if known == name)
    return bool(
        _rows(
            settings,
            """
            select 1 from job
            where state = 'running' and job_type = %(type)s and hostname = %(host)s
              and latest_heartbeat > clock_timestamp() - make_interval(secs => %(limit)s)
            """,
            {"type": job_type, "host": host, "limit": HEARTBEAT_LIMIT},
        )
    )


def component_names(settings: Settings) -> list[str]:
    """Airflow's components, then Redis and the workers that were started with them."""
    if not settings.has_own_airflow:
        return [*COMPONENTS, *(["worker"] if settings.has_workers else [])]
    return [*COMPONENTS, *(name for name in processes.remembered(settings.home) if name not in COMPONENTS)]


def _health_of_services(settings: Settings, beats: dict[str, list[tuple[float, float]]]) -> dict[str, str]:
    alive = {name for name, jobs in beats.items() if any(age < HEARTBEAT_LIMIT for age, _ in jobs)}
    if answers(settings):
        alive.add("api-server")
    if settings.has_workers and _has_answering_worker(settings):
        alive.add("worker")
    return {name: "healthy" if name in alive else "no answer" for name in component_names(settings)}


def _has_answering_worker(settings: Settings) -> bool:
    from kombu.exceptions import OperationalError

    try:
        return bool(answering_workers(settings))
    except (OSError, OperationalError):
        return False


def running_tasks(settings: Settings) -> list[str]:
    """The tasks that run now, of any DAG, as `<dag>.<task>`."""
    rows = _rows(
        settings, "select dag_id || '.' || task_id from task_instance where state = 'running' order by 1"
    )
    return [name for (name,) in rows]


def parse_errors(settings: Settings, since: dt.datetime) -> list[str] | None:
    """Errors of the DAG files as they are now.

    Returns:
        `<file>: <error>`; None while the pipeline's file was not read since that time.
    """
    errors = _rows(
        settings, "select filename, stacktrace from import_error where timestamp > %(at)s", {"at": since}
    )
    if errors:
        return [f"{name}: {text.strip()}" for name, text in errors]
    is_read = _rows(
        settings,
        "select 1 from dag where dag_id = %(dag)s and last_parsed_time > %(at)s",
        {"dag": DAG_ID, "at": since},
    )
    return [] if is_read else None


def wait_for_files(settings: Settings, since: dt.datetime, seconds: float = 120.0) -> bool:
    """Wait until the DAG files were read anew; whether they were.

    Args:
        settings: Of this installation.
        since: When the dag-processor was started.
        seconds: Longest wait.

    Raises:
        PlatformError: One of them has an error.
    """
    deadline = time.monotonic() + seconds
    while (errors := parse_errors(settings, since)) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    if errors:
        raise PlatformError("DAG files can't be read:\n" + "\n".join(errors))
    return True


def metadata_revision(settings: Settings) -> str | None:
    """The revision Airflow's metadata is at; None where there is none yet."""
    rows = _rows(settings, "select version_num from alembic_version")
    return str(rows[0][0]) if rows else None


def airflow_change(settings: Settings) -> AirflowChange | None:
    """What a migration would change about the metadata; None where there is none yet, or it is up to date."""
    stamp = _metadata_stamp(settings)
    migrated = _migrated_version(settings)
    if stamp is None or stamp == migrated:
        return None
    return AirflowChange(migrated.split()[0] if migrated else None, version("apache-airflow"))


def running(settings: Settings) -> dict[str, Started]:
    """The components that run as processes of this platform, by name."""
    known = {name: processes.find(settings.home, name) for name in component_names(settings)}
    return {name: started for name, started in known.items() if started and started.leader()}


# --- runs of the pipeline ----------------------------------------------------------------------------------


def last_interval(now: dt.datetime) -> dt.datetime:
    """Logical date of the schedule's last complete data interval."""
    start = now.astimezone(dt.UTC).replace(hour=START_HOUR, minute=0, second=0, microsecond=0)
    end = start if start <= now else start - dt.timedelta(days=1)
    return end - dt.timedelta(days=1)


def wait_for_dag(settings: Settings, *, timeout: float = 90.0) -> None:
    """Wait until the dag-processor has read the DAG.

    Raises:
        PlatformError: The DAG's file has an error, or is not there.
    """
    deadline = time.monotonic() + timeout
    while not _rows(settings, "select 1 from serialized_dag where dag_id = %(dag)s", {"dag": DAG_ID}):
        failures = _rows(settings, "select filename, stacktrace from import_error")
        if failures:
            raise PlatformError(f"The DAG file {failures[0][0]} can't be read:\n{failures[0][1]}")
        if time.monotonic() > deadline:
            log = processes.log_file(settings.home, "dag-processor")
            raise PlatformError(
                f"Airflow did not find the DAG {DAG_ID} within {timeout:.0f} s. "
                f"The log {log} ends:\n" + "\n".join(processes.tail(log, 20))
            )
        time.sleep(0.2)


def next_run(settings: Settings) -> NextRun | None:
    """The next scheduled run as Airflow plans it; None where it does not know the DAG."""
    rows = _rows(
        settings,
        "select next_dagrun_create_after, is_paused from dag where dag_id = %(dag)s and not is_stale",
        {"dag": DAG_ID},
    )
    return NextRun(*rows[0]) if rows else None


def set_paused(settings: Settings, is_paused: bool) -> None:
    """Pause or unpause the schedule; a DAG that Airflow has not seen yet is paused anyway."""
    connection = database.connect(settings.metadata)
    try:
        with connection.cursor() as cursor:
            cursor.execute("update dag set is_paused = %s where dag_id = %s", (is_paused, DAG_ID))
    finally:
        connection.close()


def keep_paused_until_exit(settings: Settings | None = None) -> None:
    """Pause the schedule for as long as this process runs, where it is not paused already.

    A process that is killed leaves it paused; the next `./deploy.sh dev` unpauses it.
    """
    settings = settings or get_settings()
    rows = _rows(settings, "select 1 from dag where dag_id = %(dag)s and not is_paused", {"dag": DAG_ID})
    if rows:
        process = os.getpid()
        set_paused(settings, True)
        # Tasks are forked from here; only the process that paused unpauses.
        atexit.register(lambda: set_paused(settings, False) if os.getpid() == process else None)


def trigger(
    settings: Settings, run_id: str, *, logical_date: dt.datetime | None, parameters: Mapping[str, object]
) -> None:
    """Ask the scheduler for a run of the pipeline.

    Raises:
        PlatformError: Airflow refused; the message ends with its words.
    """
    command = [str(Path(sys.prefix) / "bin" / "airflow"), "dags", "trigger", DAG_ID, "--run-id", run_id]
    if logical_date is not None:
        command += ["--logical-date", logical_date.isoformat()]
    if parameters:
        command += ["--conf", json.dumps(parameters)]
    done = processes.run_to_end(command, environment=program_environment(settings), cwd=settings.home)
    if done.returncode != 0:
        raise PlatformError("Airflow did not take the run:\n" + "\n".join(done.stdout.splitlines()[-15:]))


def dag_runs(settings: Settings, *, limit: int = 5) -> list[DagRun]:
    """The pipeline's latest runs, newest first; none when Airflow has no metadata yet."""
    return [
        DagRun(*row)
        for row in _rows(
            settings,
            """
            select run_id, state, run_type, logical_date, queued_at, start_date, end_date
            from dag_run where dag_id = %(dag)s order by id desc limit %(limit)s
            """,
            {"dag": DAG_ID, "limit": limit},
        )
    ]


def find_run(settings: Settings, *, logical_date: dt.datetime) -> DagRun | None:
    """The run of one data interval, whoever started it."""
    rows = _rows(
        settings,
        """
        select run_id, state, run_type, logical_date, queued_at, start_date, end_date
        from dag_run where dag_id = %(dag)s and logical_date = %(date)s
        """,
        {"dag": DAG_ID, "date": logical_date},
    )
    return DagRun(*rows[0]) if rows else None


def task_states(settings: Settings, run_id: str) -> list[TaskState]:
    """The tasks of a run, in the order they started."""
    return [
        TaskState(task_id, state, try_number, None if seconds is None else float(seconds))
        for task_id, state, try_number, seconds in _rows(
            settings,
            """
            select task_id, state, try_number, extract(epoch from end_date - start_date)
            from task_instance where dag_id = %(dag)s and run_id = %(run)s
            order by coalesce(end_date, 'infinity'), coalesce(start_date, 'infinity'), task_id
            """,
            {"dag": DAG_ID, "run": run_id},
        )
    ]


def watch(
    settings: Settings,
    run_id: str,
    *,
    on_change: Callable[[TaskState], None],
    on_tick: Callable[[list[TaskState]], None] = lambda tasks: None,
    stall_timeout: float = 180.0,
) -> DagRun:
    """Follow a run to its end.

    Args:
        settings: Of this installation.
        run_id: The run.
        on_change: Called when a task ended, or goes into another try.
        on_tick: Called at each look with all tasks.
        stall_timeout: Longest time (s) in which nothing may run before the components are looked at.

    Raises:
        PlatformError: The run vanished, or a component it needs is gone.
    """
    seen: dict[tuple[str, int], str | None] = {}
    last_activity = time.monotonic()
    while True:
        tasks = task_states(settings, run_id)
        for task in tasks:
            key = (task.task_id, task.try_number)
            if task.state != seen.get(key):
                last_activity = time.monotonic()
                seen[key] = task.state
                if task.state in (*_ENDED_TASKS, "up_for_retry"):
                    on_change(task)
        on_tick(tasks)
        if any(task.state == "running" for task in tasks):
            last_activity = time.monotonic()
        run = next((run for run in dag_runs(settings, limit=50) if run.run_id == run_id), None)
        if run is None:
            raise PlatformError(f"The run {run_id} is gone from Airflow. Run ./deploy.sh dev again.")
        if not run.is_active:
            return run
        dead = [name for name, state in health(settings).items() if state in ("dead", "stopped")]
        if dead:
            log = processes.log_file(settings.home, dead[0])
            raise PlatformError(
                f"Airflow's {dead[0]} is gone while the run {run_id} was going. Run ./deploy.sh dev again; "
                f"the run goes on. Its log {log} ends:\n" + "\n".join(processes.tail(log, 15))
            )
        if time.monotonic() - last_activity > stall_timeout:
            raise PlatformError(
                f"Nothing happened in the run {run_id} for {stall_timeout:.0f} s. "
                "Look at ./deploy.sh logs scheduler."
            )
        time.sleep(0.4)


def failure_text(settings: Settings, run_id: str, task: TaskState, *, lines: int = 15) -> str:
    """The last lines of a task's log, readable."""
    folder = task_log_dir(settings) / f"dag_id={DAG_ID}" / f"run_id={run_id}" / f"task_id={task.task_id}"
    path = folder / f"attempt={task.try_number}.log"
    shown: list[str] = []
    for line in processes.tail(path, 80):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            shown.append(line)
            continue
        text = str(record.get("event", "")).rstrip()
        shown.append(text)
        for detail in record.get("error_detail") or ():
            shown.append(f"{detail.get('exc_type')}: {detail.get('exc_value')}")
    text = "\n".join(shown)
    return "\n".join(text.splitlines()[-lines:]) or f"(no log at {path})"


def fail_abandoned_runs(settings: Settings) -> int:
    """End runs of a killed `airflow dags test`: the scheduler would adopt and execute them.

    Returns:
        How many there were.
    """
    connection = database.connect(settings.metadata)
    try:
        with connection.cursor() as cursor:
            # Such a run was never queued by a scheduler.
            cursor.execute(
                "update dag_run set state = 'failed', end_date = clock_timestamp() "
                "where state = 'running' and dag_id = %s and queued_at is null",
                (DAG_ID,),
            )
            return cursor.rowcount
    finally:
        connection.close()


# --- internals ---------------------------------------------------------------------------------------------


def _rows(
    settings: Settings, statement: str, parameters: Mapping[str, object] | None = None
) -> list[tuple[Any, ...]]:
    """Rows from Airflow's metadata; none where its database or table is not there yet."""
    with _metadata(settings) as connection:
        if connection is None:
            return []
        with connection.cursor() as cursor:
            try:
                cursor.execute(statement, parameters)
            except psycopg2.errors.UndefinedTable:
                return []
            return cursor.fetchall()


@contextlib.contextmanager
def _metadata(settings: Settings) -> Iterator[psycopg2.extensions.connection | None]:
    try:
        connection = database.connect(settings.metadata)
    except psycopg2.OperationalError:
        yield None
        return
    try:
        yield connection
    finally:
        connection.close()


def _heartbeats(settings: Settings) -> dict[str, list[tuple[float, float]]]:
    """Component → age of the last heartbeat (s) and start (s since 1970) of each of its running jobs."""
    beats: dict[str, list[tuple[float, float]]] = {}
    for job_type, age, started in _rows(
        settings,
        """
        select job_type, extract(epoch from clock_timestamp() - latest_heartbeat),
            extract(epoch from start_date)
        from job where state = 'running' and latest_heartbeat is not null
        """,
    ):
        if name := _JOB_TYPES.get(job_type):
            beats.setdefault(name, []).append((float(age), float(started)))
    return beats


def remember_migrated(settings: Settings, airflow_version: str, revision: str) -> None:
    """Say that the metadata, which were put there, are at this revision by this version of Airflow."""
    write_private(_stamp_file(settings), _stamp(settings, airflow_version, revision))


def _stamp_file(settings: Settings) -> Path:
    return settings.home / "run" / "airflow-migrated"


def _migrated_version(settings: Settings) -> str | None:
    file = _stamp_file(settings)
    return file.read_text() if file.exists() else None


def _metadata_stamp(settings: Settings) -> str | None:
    """Airflow's version and the revision its metadata is at; None when there is no metadata."""
    revision = metadata_revision(settings)
    return _stamp(settings, version("apache-airflow"), revision) if revision else None


def _stamp(settings: Settings, airflow_version: str, revision: str) -> str:
    return f"{airflow_version} {settings.airflow_db} {revision}"
