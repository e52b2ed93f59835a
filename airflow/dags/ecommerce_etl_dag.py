"""The daily pipeline: landing zone → raw → staging → warehouse → marts, checked at the boundaries.

Each task is one function of the package `ecommerce_dw`, imported inside the task so that this file parses
in a moment. Airflow orders the steps and knows nothing of SQL.
"""

from __future__ import annotations

import datetime as dt
import sys

from airflow.sdk import (
    Asset,
    AsyncCallback,
    CronDataIntervalTimetable,
    DeadlineAlert,
    DeadlineReference,
    Param,
    chain,
    dag,
    task,
)

from ecommerce_dw.nightly import CRON
from ecommerce_dw.pipeline import on_deadline
from ecommerce_dw.settings import get_settings

RUNBOOK = """
# ecommerce_etl_pipeline

Takes the shop's landed CSV files into PostgreSQL, builds the warehouse and its marts with dbt, validates
at the boundaries with Great Expectations, publishes what passed, and alerts people.

**Owner:** data engineering · **Runs:** 02:00 UTC, about the day before · **Readers wait for it:** schema
`marts` changes only in `publish`, in one transaction; until then they see yesterday's state, whole.

| when this task fails | it means | do |
|---|---|---|
| `load` | The database or the landing zone can't be reached. A bad *file* does not fail it. | Mend, clear the task. Nothing is half loaded. |
| `check_freshness` | The database can't be reached. A stale source alerts and does not fail it. | Mend, clear the task. |
| `check_raw` | A file was refused, or a critical rule over several files failed. | The alert names it. Correct the file and drop it in again, or `ecommerce-dw accept PATH`, `discard PATH`, `accept --expectation NAME`. Then clear `load` with downstream. |
| `build_staging`, `build_warehouse`, `build_marts` | A dbt model or test failed; the log names it. | Mend the cause, clear the task: its second try runs only what failed or was skipped. |
| `check_warehouse`, `check_marts` | A critical expectation failed; the next layer is not built, or not published. | The alert and `select * from ops.expectation_results` say which rows. Mend the data, or `ecommerce-dw accept --expectation NAME`, then clear from `load`. |
| `publish` | A mart's columns changed in a way that would break readers, or the lock was held. | The log names it: `ecommerce-dw publish --replace`, or wait. |
| `alert` | A channel's settings are broken. The run's own outcome is not touched by it. | `select * from ops.alerts` has every alert. |
| none, but the run is late | It is not finished four hours after its start (`NIGHTLY_DEADLINE_HOURS`): an alert goes out, once. | Open the task that runs or waits for a try. The alert's recovery comes when a run ends well. |

**Rerun a day:** clear the run (or trigger one with `business_date`). A run about a day loads every landed
file up to that day that is not loaded in its current form, so a rerun changes nothing, a missed day heals by
itself, and a late file is taken by the next run. **Read days again** that are loaded already (a contract or the
loader was corrected): the DAG `reprocess`. **Backfill:** `airflow backfill create --dag-id
ecommerce_etl_pipeline --from-date … --to-date …`. Any order of days ends in the same warehouse.
"""  # noqa: E501 (rows of a table)


def _deadline() -> DeadlineAlert | None:
    """When a run is late; the triggerer says it, so also when every worker is busy."""
    if sys.argv[1:3] == ["dags", "test"]:
        return None  # Airflow 3.3 ends a good `airflow dags test` of a DAG with a deadline in an error
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=dt.timedelta(hours=get_settings().nightly_deadline_hours),
        callback=AsyncCallback(on_deadline),
        name="published in time",
    )


MARTS = Asset(name="marts", uri="warehouse://ecommerce_dw/marts", group="warehouse")


@dag(
    dag_id="ecommerce_etl_pipeline",
    schedule=CronDataIntervalTimetable(CRON, timezone="UTC"),
    start_date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    deadline=_deadline(),
    dagrun_timeout=dt.timedelta(hours=4),
    default_args={
        "owner": "data-engineering",
        "retries": 2,
        "retry_delay": dt.timedelta(seconds=30),
        "execution_timeout": dt.timedelta(hours=2),
    },
    params={
        "business_date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Business date",
            description="Load files up to this day. Empty: the logical date, else the greatest landed date.",
        ),
        "source": Param(
            "all",
            type="string",
            pattern="^[a-z][a-z0-9_]*$",
            title="Source",
            description="Load this source's files only (a folder of contracts), or `all`.",
        ),
        "full_refresh": Param(
            False, type="boolean", title="Full refresh", description="Rebuild every table from raw."
        ),
        "reload": Param(
            None,
            type=["null", "object"],
            title="Reload",
            description="Files to read again although they are loaded: given by the DAG `reprocess`.",
        ),
    },
    tags=["warehouse", "daily", "impact:high", "triage:page"],
    doc_md=RUNBOOK,
)
def ecommerce_etl_pipeline() -> None:
    """One run about one business date."""

    @task(doc_md="Loads every landed file up to the business date that is not loaded in its current form.")
    def load(**context: object) -> dict[str, object]:
        from ecommerce_dw import pipeline

        params = context["params"]
        assert isinstance(params, dict)
        dag_run = context["dag_run"]
        logical_date = getattr(dag_run, "logical_date", None)
        given = params["business_date"]
        return pipeline.load_step(
            run_id=str(context["run_id"]),
            business_date=dt.date.fromisoformat(given) if given else logical_date and logical_date.date(),
            source=None if params["source"] == "all" else params["source"],
            is_full_refresh=params["full_refresh"],
            reload=params["reload"],
        )

    @task(doc_md="Compares each source's newest landed day with the run's business date.")
    def check_freshness(**context: object) -> dict[str, str]:
        from ecommerce_dw import pipeline

        return pipeline.freshness_step(run_id=str(context["run_id"]))

    @task(doc_md="Great Expectations: what no single file can show.")
    def check_raw(**context: object) -> dict[str, object]:
        return _check("raw", str(context["run_id"]))

    @task(doc_md="Great Expectations: keys, references, point in time, reconciliation with raw.")
    def check_warehouse(**context: object) -> dict[str, object]:
        return _check("warehouse", str(context["run_id"]))

    @task(doc_md="Great Expectations: business rules on `marts_build`.")
    def check_marts(**context: object) -> dict[str, object]:
        return _check("marts", str(context["run_id"]))

    @task(doc_md="dbt: cleaned views, one per raw table, and the sources united.")
    def build_staging(**context: object) -> dict[str, object]:
        return _build("staging", context)

    @task(doc_md="dbt: dimensions with history and facts, brought up to date by touched keys.")
    def build_warehouse(**context: object) -> dict[str, object]:
        return _build("warehouse", context)

    @task(doc_md="dbt: daily states and marts, into `marts_build`.")
    def build_marts(**context: object) -> dict[str, object]:
        return _build("marts", context)

    @task(doc_md="Brings `marts` to the validated state, in one transaction.", outlets=[MARTS])
    def publish(**context: object) -> dict[str, object]:
        from ecommerce_dw import pipeline

        return pipeline.publish_step(run_id=str(context["run_id"]))

    @task(trigger_rule="all_done", retries=0, doc_md="Data Docs of this run's three checkpoints.")
    def data_docs(**context: object) -> str | None:
        from ecommerce_dw import pipeline

        return pipeline.data_docs_step(run_id=str(context["run_id"]))

    @task(retries=1, doc_md="Opens and closes incidents; one alert for each, on every channel.")
    def alert(**context: object) -> dict[str, object]:
        from ecommerce_dw import pipeline

        ti = context["ti"]
        run_id = str(context["run_id"])
        states = ti.get_task_states(dag_id="ecommerce_etl_pipeline", run_ids=[run_id])  # type: ignore[attr-defined]
        return pipeline.finish_step(run_id=run_id, task_states=states.get(run_id, {}))

    loaded = load()
    published = publish()
    chain(
        loaded,
        check_raw(),
        build_staging(),
        build_warehouse(),
        check_warehouse(),
        build_marts(),
        check_marts(),
        published,
    )
    # A teardown always runs and does not decide about the run: what failed before it stays failed.
    finished = alert().as_teardown()
    published >> data_docs().as_teardown() >> finished
    loaded >> check_freshness() >> finished
    published >> finished


def _check(checkpoint: str, run_id: str) -> dict[str, object]:
    from airflow.sdk.exceptions import AirflowFailException

    from ecommerce_dw import pipeline

    try:
        return pipeline.check_step(checkpoint, run_id=run_id)
    except pipeline.CheckFailedError as error:
        # Trying again can't help: the data has to change, or a person has to accept it.
        raise AirflowFailException(str(error)) from error


def _build(layer: str, context: dict[str, object]) -> dict[str, object]:
    from ecommerce_dw import pipeline

    ti = context["ti"]
    return pipeline.build_step(layer, run_id=str(context["run_id"]), may_retry=ti.try_number > 1)  # type: ignore[attr-defined]


ecommerce_etl_pipeline()
