"""Backup, retention, and the server's housekeeping, each night after the pipeline.

Each task is one function of the package `ecommerce_dw`, imported inside the task.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TypeVar

from airflow.sdk import CronDataIntervalTimetable, dag, task

from ecommerce_dw.maintenance import CRON, NothingToDoError

T = TypeVar("T")

RUNBOOK = """
# maintenance

Takes the nightly backup and deletes what is older than the settings want to keep.

**Owner:** data engineering · **Runs:** 03:30 UTC, after `ecommerce_etl_pipeline`; a build that is still going is waited
for · **Nobody waits for it:** but without `backup` the way back from a disaster is a day longer each night.

| when this task fails or is skipped | it means | do |
|---|---|---|
| `backup` is skipped | `BACKUP_DIR` is not set. | Set it (docs/production.md, *Backup*), `./deploy.sh prod`. |
| `backup` failed | The disk is full or away, or a build was going for longer than `LOCK_WAIT_SECONDS`. The log says which. Nothing bears a backup's name that is not whole. | Mend, clear the task. |
| `prune_backups` | A folder in `BACKUP_DIR` can't be deleted. It runs only after a good `backup`. | Mend (rights), clear the task. |
| `prune_outcomes` | The database can't be reached; or `backup` failed, and nothing is pruned that is in no backup. | Mend, clear the task. |
| `prune_logs` | A file under `<home>/logs` can't be deleted. | Mend (rights), clear the task. |
| `prune_metadata` is skipped | Tasks in containers do not reach Airflow's metadata; the log has the command to run on the host. | Run it from time to time. |
| `prune_metadata` failed | `airflow db clean` failed; the log ends with its words. | Mend, clear the task. |
| `vacuum` | The database can't be reached. A table that is in use is left for the next night. | Mend, clear the task. |
| `alert` | A channel's settings are broken. | `select * from ops.alerts` has every alert. |

How much is kept: `BACKUP_KEEP`, `OPS_KEEP_DAYS`, `LOGS_KEEP_DAYS`, `AIRFLOW_KEEP_DAYS` (.env.example). **Nothing to do
for:** partitions (the models make a month's before its rows), `ops.touched` (each publication prunes it), Data Docs
(each run keeps the newest `DATA_DOCS_KEEP`). In containers the backup has no metadata of Airflow's:
`./deploy.sh backup` on the host has them. **Restoring:** `./deploy.sh restore --help`.
"""  # noqa: E501 (rows of a table)


@dag(
    dag_id="maintenance",
    schedule=CronDataIntervalTimetable(CRON, timezone="UTC"),
    start_date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=dt.timedelta(hours=12),
    default_args={
        "owner": "data-engineering",
        "retries": 2,
        "retry_delay": dt.timedelta(minutes=5),
        "execution_timeout": dt.timedelta(hours=1),
    },
    tags=["warehouse", "daily", "impact:medium", "triage:ticket"],
    doc_md=RUNBOOK,
)
def maintenance() -> None:
    """One run a night."""

    @task(execution_timeout=dt.timedelta(hours=6), doc_md="Writes a dated backup to BACKUP_DIR.")
    def backup() -> dict[str, object]:
        from ecommerce_dw import maintenance as steps

        return _or_skip(steps.backup_step)

    @task(doc_md="Deletes the oldest backups beyond BACKUP_KEEP.")
    def prune_backups() -> list[str]:
        from ecommerce_dw import maintenance as steps

        return _or_skip(steps.prune_backups_step)

    # Not after a failed backup: what goes is in the backup of the same night, where backups are taken.
    @task(trigger_rule="none_failed", doc_md="Deletes outcomes (schema `ops`) older than OPS_KEEP_DAYS.")
    def prune_outcomes() -> dict[str, int]:
        from ecommerce_dw import maintenance as steps

        return steps.prune_outcomes()

    @task(doc_md="Deletes logs older than LOGS_KEEP_DAYS.")
    def prune_logs() -> int:
        from ecommerce_dw import maintenance as steps

        return steps.prune_logs()

    @task(doc_md="Deletes Airflow's own history older than AIRFLOW_KEEP_DAYS.")
    def prune_metadata() -> str:
        from ecommerce_dw import maintenance as steps

        return _or_skip(steps.prune_metadata)

    @task(doc_md="Vacuums and analyzes the tables that need it.")
    def vacuum() -> dict[str, list[str]]:
        from ecommerce_dw import maintenance as steps

        done = steps.vacuum()
        return {"vacuumed": list(done.vacuumed), "analyzed": list(done.analyzed), "busy": list(done.busy)}

    @task(retries=1, doc_md="Opens and closes incidents; one alert for each, on every channel.")
    def alert(**context: object) -> dict[str, object]:
        from ecommerce_dw import maintenance as steps

        ti = context["ti"]
        run_id = str(context["run_id"])
        states = ti.get_task_states(dag_id="maintenance", run_ids=[run_id])  # type: ignore[attr-defined]
        return steps.finish_step(run_id=run_id, task_states=states.get(run_id, {}))

    saved = backup()
    finished = alert().as_teardown()
    saved >> prune_backups() >> finished
    saved >> prune_outcomes() >> vacuum() >> finished
    prune_logs() >> finished
    prune_metadata() >> finished


def _or_skip(step: Callable[[], T]) -> T:
    from airflow.sdk.exceptions import AirflowSkipException

    try:
        return step()
    except NothingToDoError as reason:
        raise AirflowSkipException(str(reason)) from reason


maintenance()
