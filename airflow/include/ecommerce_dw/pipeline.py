"""The steps of the daily pipeline, as the DAG's tasks call them: plain values in, plain values out.

What a step returns is small and JSON-able (it becomes the task's return value in Airflow); everything else
is in the tables of `ops`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ecommerce_dw import db
from ecommerce_dw.logs import about
from ecommerce_dw.nightly import LateRun, due_at
from ecommerce_dw.runs import close_run, freeze, get_run, open_run
from ecommerce_dw.settings import Settings, get_settings
from ecommerce_dw.steps import measured, written_since
from ecommerce_dw.transform import Layer, build, take_snapshots

if TYPE_CHECKING:
    from ecommerce_dw.loading.reload import Reload

_logger = logging.getLogger(__name__)

#: Tasks that fail because of the data: their expectation's incident speaks for them.
_CHECK_TASKS = {"check_raw": "raw", "check_warehouse": "warehouse", "check_marts": "marts"}


class CheckFailedError(RuntimeError):
    """A critical expectation failed; the message names it, what was seen and what to do."""


def load_step(
    *,
    run_id: str,
    business_date: dt.date | None,
    source: str | None = None,
    is_full_refresh: bool = False,
    reload: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
) -> dict[str, object]:
    """Open the run, load every landed file up to its business date, freeze its window.

    Waits for a whole run in one process (`ecommerce-dw reprocess`) that is going.

    Args:
        run_id: Airflow's run id.
        business_date: None takes the greatest date in the landing zone.
        source: Load this source alone; None means all.
        is_full_refresh: Whether the run's models are rebuilt from raw.
        reload: Files to read again although they are loaded (`Reload.as_dict`).

    Returns:
        The numbers of files and rows.

    Raises:
        ecommerce_dw.db.LockHeldError: A run in one process was going all the time allowed.
    """
    from ecommerce_dw.loading.reload import Reload

    settings = settings or get_settings()
    with db.run_lock(holder=f"load ({run_id})", settings=settings):
        return load_files(
            settings,
            run_id=run_id,
            business_date=business_date,
            source=source,
            is_full_refresh=is_full_refresh,
            reload=Reload.from_dict(reload) if reload else None,
        )


def load_files(
    settings: Settings,
    *,
    run_id: str,
    business_date: dt.date | None,
    source: str | None,
    is_full_refresh: bool,
    reload: Reload | None,
) -> dict[str, object]:
    """The load step, for who holds the run lock."""
    from ecommerce_dw.loading import load
    from ecommerce_dw.loading.outcome import about_file

    connection = db.connect("loader", settings=settings)
    try:
        with measured("load", run_id, settings) as step:
            open_run(
                connection,
                run_id,
                business_date=business_date,
                source=source,
                is_full_refresh=is_full_refresh,
            )
            summary = load(settings, source=source, business_date=business_date, run_id=run_id, reload=reload)
            step.row_count = summary.rows_loaded
            run = freeze(connection, run_id, business_date=summary.business_date)
    finally:
        connection.close()
    for outcome in summary.outcomes:
        if outcome.outcome not in ("loaded", "unchanged"):
            with about(run_id=run_id, step="load"), about_file(outcome):
                _logger.warning(
                    "%s %s: %s %s", outcome.source, outcome.path, outcome.outcome, outcome.message
                )
    return {
        "business_date": run.business_date and run.business_date.isoformat(),
        "load_id_to": run.load_id_to,
        "files_loaded": summary.files_loaded,
        "files_skipped": summary.files_skipped,
        "files_refused": summary.files_refused,
        "files_failed": summary.files_failed,
        "rows_read": summary.rows_read,
        "rows_loaded": summary.rows_loaded,
        "rows_rejected": summary.rows_rejected,
        "unmatched": list(summary.unmatched[:20]),
        "missing": list(summary.missing[:20]),
        "seconds": round(summary.seconds, 2),
    }


def freshness_step(*, run_id: str, settings: Settings | None = None) -> dict[str, str]:
    """Record how stale each source's content is on the run's business date.

    Returns:
        Source → `fresh`, `stale` or `none`.
    """
    from ecommerce_dw.freshness import check_freshness

    settings = settings or get_settings()
    connection = db.connect("transformer", settings=settings)
    try:
        run = get_run(connection, run_id)
    finally:
        connection.close()
    if run is None or run.business_date is None:
        return {}
    with measured("check_freshness", run_id, settings):
        results = check_freshness(settings, run_id, run.business_date)
    return {result.source: result.status for result in results}


def check_step(checkpoint: str, *, run_id: str, settings: Settings | None = None) -> dict[str, object]:
    """Validate one checkpoint.

    Raises:
        CheckFailedError: A critical expectation failed and nobody accepted it.
    """
    from ecommerce_dw.quality import Checkpoint, validate

    settings = settings or get_settings()
    with measured(f"check_{checkpoint}", run_id, settings):
        # Read before anything is validated: what is built while we look was not looked at.
        seen = _built_up_to(settings)
        summary = validate(settings, cast(Checkpoint, checkpoint), run_id)
        text = summary.describe()
        if not summary.is_success:
            raise CheckFailedError(text)
    _logger.info("%s", text)
    if checkpoint == "marts":
        with db.transaction("transformer", settings=settings) as cursor:
            cursor.execute("update ops.runs set validated_seq = %s where run_id = %s", (seen, run_id))
    return {"expectations": len(summary.results), "warnings": [r.name for r in summary.warnings]}


def _built_up_to(settings: Settings) -> int:
    """The newest entry of `ops.touched`: it moves whenever a model's rows change."""
    with db.transaction("transformer", settings=settings) as cursor:
        cursor.execute(
            "select greatest((select max(touched_seq) from ops.touched), "
            "(select max(touched_seq) from ops.model_marks), 0)"
        )
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def build_step(
    layer: str, *, run_id: str, may_retry: bool = False, settings: Settings | None = None
) -> dict[str, object]:
    """Build one layer with dbt; a second try runs only what failed or was skipped."""
    settings = settings or get_settings()
    with measured(f"build_{layer}", run_id, settings) as step:
        seen = _built_up_to(settings)
        summary = build(cast(Layer, layer), run_id, settings=settings, may_retry=may_retry)
        step.row_count = written_since(settings, seen)
    for warning in summary.warnings:
        _logger.warning("%s: %s", warning.node_id, warning.message)
    return {
        "models": summary.count("model"),
        "tests": summary.count("test"),
        "warnings": len(summary.warnings),
        "is_retry": summary.is_retry,
    }


def publish_step(*, run_id: str, settings: Settings | None = None) -> dict[str, object]:
    """Bring the schema `marts` to the validated state, in one transaction; keep what people are shown now.

    Raises:
        CheckFailedError: Somebody built on after the marts were validated; nothing is published.
    """
    settings = settings or get_settings()
    with measured("publish", run_id, settings) as step:
        tables = _publish(settings, run_id)
        step.row_count = sum(sum(counts.values()) for counts in tables.values())
        _reconcile_published(settings, run_id)
        take_snapshots(run_id, settings=settings)
    return {**tables}


def _publish(settings: Settings, run_id: str) -> dict[str, dict[str, int]]:
    from ecommerce_dw.publish import publish

    connection = db.connect("transformer", settings=settings)
    try:
        run = get_run(connection, run_id)
        with connection, connection.cursor() as cursor:
            cursor.execute("select validated_seq from ops.runs where run_id = %s", (run_id,))
            row = cursor.fetchone()
    finally:
        connection.close()
    validated = row[0] if row else None
    if validated is not None and _built_up_to(settings) > validated:
        raise CheckFailedError(
            "The warehouse was built on by another run after this run's marts were validated, so what is in "
            "marts_build was not. Nothing was published, marts is as it was. Clear `check_marts` with "
            "downstream when the other run has ended."
        )
    summary = publish(settings, run_id=run_id, full=bool(run and run.is_full_refresh))
    return {
        table.name: {"inserted": table.inserted, "updated": table.updated, "deleted": table.deleted}
        for table in summary.tables
    }


def _reconcile_published(settings: Settings, run_id: str) -> None:
    """Measure what was published against what was built; a difference is told in the log and kept."""
    from ecommerce_dw.contracts.reader import read_contracts
    from ecommerce_dw.reconciliation import findings, measure, whole

    contracts = read_contracts(settings.contracts_dir)
    measurement = measure(settings, contracts, whole(contracts), run_id=run_id, upto=0, parts=("published",))
    connection = db.connect("transformer", settings=settings)
    try:
        for finding in findings(connection, measurement):
            if not finding.is_explained:
                _logger.error(
                    "%s is not %s: %s of %s differs by %s. `ecommerce-dw publish --full` compares every row.",
                    *(finding.to_object, finding.from_object, finding.measure, finding.source_system),
                    finding.unexplained,
                )
    finally:
        connection.close()


def data_docs_step(*, run_id: str, settings: Settings | None = None) -> str | None:
    """Render the run's Data Docs; the path of their first page, or None where nothing was validated."""
    from ecommerce_dw.quality import build_data_docs

    settings = settings or get_settings()
    with measured("data_docs", run_id, settings):
        index = build_data_docs(settings, run_id)
    return str(index) if index else None


def finish_step(
    *, run_id: str, task_states: Mapping[str, str], settings: Settings | None = None
) -> dict[str, object]:
    """Close the run and alert: incidents that opened or closed, one alert each.

    Args:
        run_id: Airflow's run id.
        task_states: State of each task of the run, in Airflow's words.
    """
    from ecommerce_dw.alerts import evaluate

    settings = settings or get_settings()
    failed = sorted(task for task, state in task_states.items() if state == "failed")
    succeeded = sorted(task for task, state in task_states.items() if state == "success")
    connection = db.connect("transformer", settings=settings)
    try:
        if get_run(connection, run_id) is not None:
            message = f"failed: {', '.join(failed)}" if failed else None
            close_run(connection, run_id, is_success=not failed, message=message)
        refused_or_failed = _failed_checkpoints(connection, run_id)
    finally:
        connection.close()
    own_failures = [task for task in failed if _CHECK_TASKS.get(task) not in refused_or_failed]
    with about(step="alert"):
        outcome = evaluate(settings, run_id, task_failures=own_failures, task_successes=succeeded)
    return outcome.as_dict()


def deadline_step(
    *, run_id: str, business_date: dt.date, settings: Settings | None = None
) -> dict[str, object]:
    """Open an incident and alert people when the run about a day is not finished by its deadline."""
    from ecommerce_dw.alerts import evaluate

    settings = settings or get_settings()
    late = LateRun(business_date, due_at(business_date, settings), run_id)
    return evaluate(settings, run_id, late_run=late).as_dict()


async def on_deadline(context: Mapping[str, Any]) -> str:
    """What Airflow's triggerer calls when the deadline of a run has passed.

    A run that a person or a backfill started has no readers waiting for it: only scheduled ones are held
    against the deadline.

    Args:
        context: Airflow's: `dag_run` as its REST API shows it, `deadline`.

    Returns:
        What was done, as text: Airflow keeps it in a text column, and its triggerer ends on anything else.
    """
    run = context["dag_run"]
    if run["run_type"] != "scheduled":
        return f"Ignored: {run['dag_run_id']} is a {run['run_type']} run."
    date = dt.datetime.fromisoformat(run["logical_date"]).date()
    # In a thread: the triggerer's loop serves other callbacks meanwhile.
    outcome = await asyncio.to_thread(deadline_step, run_id=run["dag_run_id"], business_date=date)
    return json.dumps(outcome)


def _failed_checkpoints(connection: db.Connection, run_id: str) -> frozenset[str]:
    """Checkpoints of this run at which a critical expectation failed."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select distinct checkpoint from ops.expectation_results
            where run_id = %s and severity = 'critical' and not is_success and not is_accepted
            """,
            (run_id,),
        )
        return frozenset(row[0] for row in cursor)
