"""The sample shop lives on: its files of yesterday, landed each night before the pipeline runs.

For development alone: in production this file defines no DAG.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import CronDataIntervalTimetable, Param, dag, task

from ecommerce_dw.settings import get_settings

RUNBOOK = """
# simulate_shop_day

Lands the files of the sample shop that `./deploy.sh dev` has made (same seed, opening date and size), so that
the platform has something to do each night. It stands in for a shop's own export; what it writes is what the
simulator writes for that day, byte for byte.

**Owner:** data engineering · **Runs:** 01:00 UTC, about the day before, an hour ahead of
`ecommerce_etl_pipeline` · **Only in development:** with `ECOMMERCE_DW_ENVIRONMENT=production` this DAG does
not exist.

| you see | it means | do |
|---|---|---|
| `land_files` is skipped | There is no day to simulate: no sample, a sample made with `--end`, other files in the landing folder, or a bucket in place of it. The task's log says which. | Nothing, or what the log says. |
| `land_files` failed | The landing folder can't be written. | Mend (disk, rights), clear the task. Files appear whole or not at all. |

**Days that were missed** while the platform was down are landed by the next run. **A certain day:** trigger
with `date`, or `ecommerce-dw simulate-day --date YYYY-MM-DD`; all missing days up to it are landed. A day that
is there stays as it is. **Switch it off:** pause it; the shop then stands still.
"""  # noqa: E501 (rows of a table)


@dag(
    dag_id="simulate_shop_day",
    schedule=CronDataIntervalTimetable("0 1 * * *", timezone="UTC"),
    start_date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=dt.timedelta(minutes=50),
    default_args={
        "owner": "data-engineering",
        "retries": 2,
        "retry_delay": dt.timedelta(seconds=30),
        "execution_timeout": dt.timedelta(minutes=30),
    },
    params={
        "date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Date",
            description="Land the missing days up to this one. Empty: the logical date.",
        ),
    },
    tags=["sample", "daily", "impact:low", "triage:ignore"],
    doc_md=RUNBOOK,
)
def simulate_shop_day() -> None:
    """One run lands what the shop has delivered since the run before."""

    @task(doc_md="Writes the missing days of the sample into the landing zone.")
    def land_files(**context: object) -> dict[str, object]:
        from airflow.sdk.exceptions import AirflowSkipException

        from ecommerce_dw.platform.sample import NoDayToSimulateError, continue_sample

        params = context["params"]
        assert isinstance(params, dict)
        asked = params["date"]
        logical_date = getattr(context["dag_run"], "logical_date", None)
        date = dt.date.fromisoformat(asked) if asked else logical_date and logical_date.date()
        try:
            sample, added = continue_sample(get_settings(), date, is_asked=bool(asked))
        except NoDayToSimulateError as reason:
            raise AirflowSkipException(str(reason)) from reason
        return {"days_added": added, "last": sample.last.isoformat()}

    land_files()


if get_settings().ecommerce_dw_environment == "development":
    simulate_shop_day()
