"""A whole run of the pipeline in one process, without Airflow: the same steps, in the same order, alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias

from ecommerce_dw import db, pipeline
from ecommerce_dw.loading import loader
from ecommerce_dw.pipeline import CheckFailedError
from ecommerce_dw.publish import PublishError
from ecommerce_dw.settings import Settings
from ecommerce_dw.transform import BuildError, parsed_once


class RunIsGoingError(RuntimeError):
    """A run of the pipeline is going; the message names it."""


#: What stops a run with a message that says what was kept and what to do.
STOPS = (RunIsGoingError, CheckFailedError, BuildError, PublishError, db.LockLostError, *loader.STOPS)

#: Name of a step, and what it does.
Step: TypeAlias = tuple[str, Callable[[], Any]]

#: A run that is not finished after so long was killed (the DAG's own limit is the same).
_LONGEST_RUN = dt.timedelta(hours=4)


@contextmanager
def alone(holder: str, settings: Settings) -> Iterator[None]:
    """Keep other runs out: a nightly one that would start meanwhile waits with its first step.

    Raises:
        RunIsGoingError: A run of the pipeline is going.
        ecommerce_dw.db.LockHeldError: Another run in one process was going all the time allowed.
    """
    with db.run_lock(holder=holder, settings=settings):
        with db.transaction("transformer", settings=settings) as cursor:
            cursor.execute(
                "select run_id, started_at from ops.runs where status = 'running' "
                "and started_at > clock_timestamp() - %s order by run_seq desc limit 1",
                (_LONGEST_RUN,),
            )
            row = cursor.fetchone()
        if row is not None:
            raise RunIsGoingError(
                f"The run {row[0]} is going since {row[1]:%H:%M:%S} UTC. Nothing was changed. Wait for its "
                "end; if it was killed, run the day again in Airflow first."
            )
        yield


def steps_after_load(
    settings: Settings, run_id: str, check: Callable[[str], Any] | None = None
) -> tuple[Step, ...]:
    """The steps of a run between the load and the alerts.

    Args:
        settings: Whose warehouse.
        run_id: Name of the run in `ops.runs`.
        check: Validates a checkpoint by its name; None does it in this process.
    """
    check = check or (lambda checkpoint: pipeline.check_step(checkpoint, run_id=run_id, settings=settings))

    def build(layer: str) -> Step:
        return f"build_{layer}", lambda: pipeline.build_step(layer, run_id=run_id, settings=settings)

    return (
        ("check_raw", lambda: check("raw")),
        build("staging"),
        build("warehouse"),
        ("check_warehouse", lambda: check("warehouse")),
        build("marts"),
        ("check_marts", lambda: check("marts")),
        ("publish", lambda: pipeline.publish_step(run_id=run_id, settings=settings)),
    )


def take(
    steps: Sequence[Step],
    settings: Settings,
    run_id: str,
    *,
    around: Callable[[str], AbstractContextManager[None]],
    finishing: AbstractContextManager[None] | None = None,
) -> dict[str, Any]:
    """Take the steps until one fails, then close the run and tell people.

    Args:
        steps: In their order.
        settings: Whose warehouse.
        run_id: Name of the run in `ops.runs`.
        around: Makes what each step, by its name, is taken in.
        finishing: What the end of the run is taken in.

    Returns:
        What each step returned.
    """
    results: dict[str, Any] = {}
    states: dict[str, str] = {}
    try:
        with parsed_once():
            for name, step in steps:
                states[name] = "failed"
                with around(name):
                    results[name] = step()
                states[name] = "success"
    finally:
        with finishing or nullcontext():
            pipeline.finish_step(run_id=run_id, task_states=states, settings=settings)
    return results
