"""The steps of the DAG `maintenance`: what keeps an installation small, quick, and able to come back.

Not here, because it is done where it belongs: monthly partitions are made by the models that need them,
before the rows that go in (macro `make_month_partitions`); `ops.touched` is pruned by each publication; Data
Docs are pruned whenever a run renders its own (`DATA_DOCS_KEEP`).
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from psycopg2 import errors, sql

from ecommerce_dw import db
from ecommerce_dw.settings import Settings, get_settings

_logger = logging.getLogger(__name__)

DAG_ID = "maintenance"
#: An hour and a half after the nightly run has started.
CRON = "30 3 * * *"

#: Tables of outcomes: the column that says when, and which of the old rows may go.
_OUTCOMES: tuple[tuple[str, str, str], ...] = (
    ("load_attempts", "finished_at", "true"),
    ("dbt_results", "finished_at", "true"),
    ("test_failures", "kept_at", "true"),
    ("run_steps", "finished_at", "true"),
    ("publications", "published_at", "true"),
    # Of each checkpoint the latest validation says which incidents are open.
    (
        "expectation_results",
        "checked_at",
        "run_id not in (select distinct on (checkpoint) run_id from ops.expectation_results "
        "order by checkpoint, result_id desc)",
    ),
    # So does the latest check of each source.
    (
        "source_freshness",
        "checked_at",
        "(source, business_date) not in (select source, max(business_date) from ops.source_freshness "
        "group by source)",
    ),
    (
        "alerts",
        "raised_at",
        "incident_id is null or incident_id in "
        "(select incident_id from ops.incidents where closed_at is not null)",
    ),
    (
        "incidents",
        "closed_at",
        "closed_at is not null and not exists "
        "(select from ops.alerts where alerts.incident_id = incidents.incident_id)",
    ),
)

#: What `airflow db clean` deletes old rows of: history, and nothing that says which DAGs there are.
_METADATA_TABLES = (
    "dag_run",
    "task_instance",
    "task_instance_history",
    "task_reschedule",
    "xcom",
    "log",
    "job",
    "trigger",
    "asset_event",
    "deadline",
    "callback",
    "import_error",
    "revoked_token",
)


class NothingToDoError(RuntimeError):
    """A step has nothing to do in this installation; the message says why, and what to set or run instead."""


@dataclass(frozen=True)
class Vacuumed:
    """What was vacuumed and analyzed.

    Attributes:
        vacuumed: Tables with many dead rows.
        analyzed: Tables, partitioned ones among them, whose statistics were old.
        busy: Tables that somebody held; the next night sees to them.
    """

    vacuumed: tuple[str, ...]
    analyzed: tuple[str, ...]
    busy: tuple[str, ...]


def backup_step(settings: Settings | None = None) -> dict[str, object]:
    """Take a backup, with Airflow's metadata where this process reaches them.

    Raises:
        NothingToDoError: BACKUP_DIR is not set.
        PlatformError: It could not be taken.
    """
    from ecommerce_dw.platform.backup import back_up

    settings = settings or get_settings()
    _need_backup_dir(settings)
    return back_up(settings, has_metadata=_reaches_metadata(settings)).as_dict()


def prune_backups_step(settings: Settings | None = None) -> list[str]:
    """Delete the oldest dated backups beyond BACKUP_KEEP; their names.

    Raises:
        NothingToDoError: BACKUP_DIR is not set.
    """
    from ecommerce_dw.platform.backup import prune_backups

    settings = settings or get_settings()
    _need_backup_dir(settings)
    return prune_backups(settings)


def prune_outcomes(settings: Settings | None = None) -> dict[str, int]:
    """Delete rows of the `ops` schema that are older than OPS_KEEP_DAYS; table → rows deleted.

    Counted back from each table's newest row, so that an installation that stood still loses nothing. Runs,
    marks, accepted expectations and contract versions stay: they decide what is built.
    """
    settings = settings or get_settings()
    deleted: dict[str, int] = {}
    with db.transaction(settings=settings) as cursor:
        for table, at, may_go in _OUTCOMES:
            cursor.execute(
                sql.SQL(
                    "delete from {table} where ({may_go}) "
                    "and {at} < (select max({at}) from {table}) - make_interval(days => %s)"
                ).format(table=sql.Identifier("ops", table), at=sql.Identifier(at), may_go=sql.SQL(may_go)),
                (settings.ops_keep_days,),
            )
            deleted[table] = cursor.rowcount
    return deleted


def prune_logs(settings: Settings | None = None, now: dt.datetime | None = None) -> int:
    """Delete logs of tasks, of dbt, and set-aside logs of components older than LOGS_KEEP_DAYS.

    Returns:
        How many files were deleted.
    """
    settings = settings or get_settings()
    now = now or dt.datetime.now(dt.UTC)
    oldest = (now - dt.timedelta(days=settings.logs_keep_days)).timestamp()
    deleted = 0
    for path in _log_files(settings):
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)
            deleted += 1
    tasks = settings.home / "logs" / "tasks"
    for folder, _, _ in os.walk(tasks, topdown=False):
        is_empty = Path(folder) != tasks and not list(Path(folder).iterdir())
        # Its time is that of its last file's end, so the folders of a tree go night by night.
        if is_empty and Path(folder).stat().st_mtime < oldest:
            Path(folder).rmdir()
    return deleted


def _log_files(settings: Settings) -> Iterator[Path]:
    logs = settings.home / "logs"
    for pattern in ("tasks/**/*", "*.log.1", "../dbt/logs/**/*.log.*"):
        yield from (path for path in logs.glob(pattern) if path.is_file() and not path.is_symlink())


def vacuum(settings: Settings | None = None) -> Vacuumed:
    """Vacuum and analyze what needs it, beside readers and writers.

    The server does that by itself (autovacuum), but for partitioned tables, which it never analyzes, and
    later where much was deleted at once.
    """
    settings = settings or get_settings()
    done: dict[str, list[str]] = {"vacuum (analyze)": [], "analyze": []}
    busy: list[str] = []
    with closing(db.connect(settings=settings)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("set lock_timeout to %s", (settings.table_lock_timeout,))
        cursor.execute(
            """
            select
                n.nspname, c.relname,
                case
                    when s.n_dead_tup > 1000 + 0.1 * s.n_live_tup then 'vacuum (analyze)'
                    when c.relkind = 'p' or s.n_mod_since_analyze > 1000 + 0.05 * s.n_live_tup then 'analyze'
                end as needed
            from pg_class as c
            join pg_namespace as n on n.oid = c.relnamespace
            left join pg_stat_user_tables as s on s.relid = c.oid
            where c.relkind in ('r', 'p', 'm')
                and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
            order by 1, 2
            """
        )
        for schema, table, needed in cursor.fetchall():
            if needed is None:
                continue
            try:
                cursor.execute(sql.SQL("{} {}").format(sql.SQL(needed), sql.Identifier(schema, table)))
                done[needed].append(f"{schema}.{table}")
            except (errors.LockNotAvailable, errors.UndefinedTable):
                busy.append(f"{schema}.{table}")
    return Vacuumed(tuple(done["vacuum (analyze)"]), tuple(done["analyze"]), tuple(busy))


def prune_metadata(settings: Settings | None = None, now: dt.datetime | None = None) -> str:
    """Delete Airflow's history that is older than AIRFLOW_KEEP_DAYS, by its own `airflow db clean`.

    A task may not use Airflow's metadata, so the command runs in a process with the components' own
    configuration.

    Returns:
        The time before which rows were deleted, ISO 8601 in UTC.

    Raises:
        NothingToDoError: The metadata have a server of their own, which tasks do not reach.
        RuntimeError: Airflow could not; the message ends with its last words.
    """
    from ecommerce_dw.platform import processes
    from ecommerce_dw.platform.configuration import program_environment

    settings = settings or get_settings()
    now = now or dt.datetime.now(dt.UTC)
    before = (now - dt.timedelta(days=settings.airflow_keep_days)).isoformat(timespec="seconds")
    command = [
        *("db", "clean", "--clean-before-timestamp", before, "--tables", ",".join(_METADATA_TABLES)),
        *("--skip-archive", "--error-on-cleanup-failure", "--yes"),
    ]
    if not _reaches_metadata(settings):
        raise NothingToDoError(
            "Tasks do not reach Airflow's metadata here. On the host, from time to time: "
            f"./deploy.sh run airflow {' '.join(command)}"
        )
    done = processes.run_to_end(
        [str(Path(sys.prefix) / "bin" / "airflow"), *command],
        environment=program_environment(settings),
        cwd=settings.home,
    )
    if done.returncode != 0:
        raise RuntimeError("airflow db clean failed:\n" + "\n".join(done.stdout.splitlines()[-15:]))
    return before


def finish_step(
    *, run_id: str, task_states: Mapping[str, str], settings: Settings | None = None
) -> dict[str, object]:
    """Open an incident for each task that failed, close those of tasks that succeeded, alert people.

    Args:
        run_id: Airflow's run id.
        task_states: State of each task of the run, in Airflow's words.
    """
    from ecommerce_dw.alerts import evaluate

    def in_state(state: str) -> Sequence[str]:
        return sorted(task for task, each in task_states.items() if each == state)

    outcome = evaluate(
        settings or get_settings(),
        run_id,
        task_failures=in_state("failed"),
        task_successes=in_state("success"),
        tasks_of=DAG_ID,
    )
    return outcome.as_dict()


def _need_backup_dir(settings: Settings) -> None:
    if settings.backup_dir is None:
        raise NothingToDoError("There is no place for backups: set BACKUP_DIR to a folder on another disk.")


def _reaches_metadata(settings: Settings) -> bool:
    """Whether a task gets to Airflow's metadata: where they have a server of their own, it does not."""
    return not settings.airflow_db_host and settings.has_own_airflow
