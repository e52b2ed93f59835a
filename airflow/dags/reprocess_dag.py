"""Reads days again that are loaded already: says what that would change, and does it when told to.

The plan is a function of the package; what does it is a run of the daily pipeline, so the same steps, checks
and locks apply, and never two runs at once.
"""

from __future__ import annotations

import datetime as dt
import logging

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Param, dag, task

RUNBOOK = """
# reprocess

Reads the landed files of some days again, also those that are loaded in their present form. For when their
meaning changed and not their bytes: a contract was corrected, the loader was mended, rows of raw were changed by
hand. A file with other bytes needs no reprocessing: the next nightly run takes it.

**Owner:** data engineering · **Runs:** when a person triggers it · **A dry run by default:** `plan` shows in its
log, and as its XCom `markdown`, which files, days and rows would change; nothing is touched. Look at it, then
trigger again with *Dry run* off.

| when this task fails or is skipped | it means | do |
|---|---|---|
| `plan` failed | A source or entity does not exist, the days are in the wrong order, or the database can't be reached. The log says which. | Trigger again with what there is. |
| `is_wanted` is skipped over | It was a dry run, or there is nothing to do. | Read the plan. |
| `run_pipeline` failed | The pipeline's run failed or was refused; the button *Triggered DAG* leads there. `marts` is as it was. | What the page of `ecommerce_etl_pipeline` says for the task that failed; then clear it there. |
| `run_pipeline` failed at once | The DAG `ecommerce_etl_pipeline` is paused. | Unpause it, clear the task. |

The run is one of `ecommerce_etl_pipeline`, which has one run at a time: beside a nightly run it waits its turn.
It is about the newest day that is loaded, so nothing new comes in by it but what the plan lists. **Full refresh**
builds every table again from raw. From a shell, without Airflow: `ecommerce-dw reprocess --help`.
"""  # noqa: E501 (rows of a table)


@dag(
    dag_id="reprocess",
    schedule=None,
    start_date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=dt.timedelta(hours=12),
    default_args={
        "owner": "data-engineering",
        "retries": 0,
        "execution_timeout": dt.timedelta(hours=10),
    },
    params={
        "from": Param(type="string", format="date", title="From", description="First business date."),
        "to": Param(
            None,
            type=["null", "string"],
            format="date",
            title="To",
            description="Last business date. Empty: the first one.",
        ),
        "source": Param(
            None,
            type=["null", "string"],
            pattern="^[a-z][a-z0-9_]*$",
            title="Source",
            description="Files of this source alone. Empty: all.",
        ),
        "entities": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
            title="Entities",
            description="Files of these entities alone, one per line. Empty: all.",
        ),
        "full_refresh": Param(
            False, type="boolean", title="Full refresh", description="Build every table again from raw."
        ),
        "dry_run": Param(
            True, type="boolean", title="Dry run", description="Only say what would change; change nothing."
        ),
    },
    tags=["warehouse", "on-demand", "impact:medium", "triage:ticket"],
    doc_md=RUNBOOK,
)
def reprocess() -> None:
    """Plan, and where it is wanted a run of the pipeline."""

    @task(
        multiple_outputs=True,
        execution_timeout=dt.timedelta(minutes=30),
        doc_md="Says which files, days and rows are concerned. Changes nothing.",
    )
    def plan(**context: object) -> dict[str, object]:
        from ecommerce_dw.loading.reload import Reload
        from ecommerce_dw.reprocess import plan as make_plan
        from ecommerce_dw.settings import get_settings

        params = context["params"]
        assert isinstance(params, dict)
        reload = Reload.from_dict(
            {
                "first": params["from"],
                "last": params["to"] or params["from"],
                "source": params["source"],
                "entities": params["entities"],
            }
        )
        planned = make_plan(get_settings(), reload, is_full_refresh=params["full_refresh"])
        logging.getLogger(__name__).info("%s", planned.markdown())
        return {
            "markdown": planned.markdown(),
            "conf": planned.conf(),
            "is_wanted": planned.changes_anything and not params["dry_run"],
        }

    @task.short_circuit(
        execution_timeout=dt.timedelta(minutes=5),
        doc_md="Goes on unless it is a dry run or there is nothing to do.",
    )
    def is_wanted(answer: bool) -> bool:
        return answer

    planned = plan()
    run_pipeline = TriggerDagRunOperator(
        task_id="run_pipeline",
        trigger_dag_id="ecommerce_etl_pipeline",
        conf=planned["conf"],
        logical_date=None,
        wait_for_completion=True,
        deferrable=True,
        poke_interval=10,
        fail_when_dag_is_paused=True,
        openlineage_inject_parent_info=False,
        doc_md="A run of the daily pipeline that reads these files again; waits for its end.",
    )
    is_wanted(planned["is_wanted"]) >> run_pipeline


reprocess()
