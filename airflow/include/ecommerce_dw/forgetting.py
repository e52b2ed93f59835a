"""Warehouse and marts after a person was forgotten: the same steps as any run, over what was touched."""

from __future__ import annotations

import contextlib
import datetime as dt

from ecommerce_dw import db, pipeline
from ecommerce_dw.one_process import alone, steps_after_load, take
from ecommerce_dw.publish import publish
from ecommerce_dw.runs import close_run, freeze, get_run, open_run
from ecommerce_dw.settings import Settings
from ecommerce_dw.transform import LAYERS, build, parsed_once


def run_again(settings: Settings, run_id: str) -> bool:
    """A run of the pipeline for the day of the latest one, in this process.

    Returns:
        False where there was no run yet, so that nothing is built that could follow.

    Raises:
        ecommerce_dw.one_process.RunIsGoingError: A run is going; it or the next brings the models up to date.
        ecommerce_dw.pipeline.CheckFailedError, ecommerce_dw.transform.BuildError: `marts` is as it was.
    """
    business_date = _latest_day(settings)
    if business_date is None:
        return False
    with alone(f"forget-customer ({run_id})", settings):
        load = (
            "load",
            lambda: pipeline.load_files(
                settings,
                run_id=run_id,
                business_date=business_date,
                source=None,
                is_full_refresh=False,
                reload=None,
            ),
        )
        steps = (load, *steps_after_load(settings, run_id))
        take(steps, settings, run_id, around=lambda step: contextlib.nullcontext())
    return True


def rebuild(settings: Settings, run_id: str) -> None:
    """Build and publish what was touched in a database that nobody uses yet: no load, no alerts.

    Raises:
        ecommerce_dw.transform.BuildError: A layer did not build.
        ecommerce_dw.publish.PublishError: Nothing was published.
    """
    business_date = _latest_day(settings)
    if business_date is None:
        return
    with contextlib.closing(db.connect("transformer", settings=settings)) as connection:
        open_run(connection, run_id, business_date=business_date)
        freeze(connection, run_id)
        with parsed_once():
            for layer in LAYERS:
                build(layer, run_id, settings=settings)
        publish(settings, run_id=run_id)
        close_run(connection, run_id, is_success=True)


def _latest_day(settings: Settings) -> dt.date | None:
    with contextlib.closing(db.connect("transformer", settings=settings)) as connection:
        latest = get_run(connection)
    return latest.business_date if latest else None
