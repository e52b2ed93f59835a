"""When the nightly run is due, and whether the one about a day is done."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import psycopg2.extensions

from ecommerce_dw import db
from ecommerce_dw.loading.ledger import in_effect
from ecommerce_dw.settings import Settings

#: Hour (UTC) at which the run about the day before starts.
START_HOUR = 2
#: The same for Airflow.
CRON = f"0 {START_HOUR} * * *"


@dataclass(frozen=True)
class LateRun:
    """A nightly run that is not finished although its deadline has passed.

    Attributes:
        business_date: The day it is about.
        due_at: When it had to be finished (UTC).
        run_id: Airflow's run, where there is one: a run that never started has none.
    """

    business_date: dt.date
    due_at: dt.datetime
    run_id: str | None = None


def start_of(business_date: dt.date) -> dt.datetime:
    """When the nightly run about a day starts (UTC): the end of its data interval."""
    return dt.datetime.combine(business_date + dt.timedelta(days=1), dt.time(START_HOUR), dt.UTC)


def due_at(business_date: dt.date, settings: Settings) -> dt.datetime:
    """When the nightly run about a day has to be finished (UTC)."""
    return start_of(business_date) + dt.timedelta(hours=settings.nightly_deadline_hours)


def last_due_date(now: dt.datetime, settings: Settings) -> dt.date:
    """The latest day whose nightly run has to be finished by now."""
    date = now.astimezone(dt.UTC).date()
    while due_at(date, settings) > now:
        date -= dt.timedelta(days=1)
    return date


def is_done(cursor: psycopg2.extensions.cursor, business_date: dt.date) -> bool:
    """Whether a run of all sources has published what there is about a day.

    That is a run about this day or a later one; or one that started after the day's end and was about the
    newest day that is loaded (a shop whose data ends earlier is taken in as well as it can be).
    """
    cursor.execute(
        f"""
        select exists (
            select from ops.runs as r
            where r.status = 'succeeded' and r.source is null
                and (
                    r.business_date >= %(date)s
                    or (
                        r.started_at >= %(start)s
                        and r.business_date >= (
                            select max(l.business_date) from raw.load_ledger as l
                            where {in_effect("l")} and l.business_date <= %(date)s
                        )
                    )
                )
        )
        """,
        {"date": business_date, "start": start_of(business_date)},
    )
    (done,) = cursor.fetchone() or (False,)
    return bool(done)


def find_late_run(settings: Settings, now: dt.datetime) -> LateRun | None:
    """The nightly run that is late now, also one that never started.

    A warehouse that no run has ever published is not in service: nobody waits for it.
    """
    date = last_due_date(now, settings)
    with db.transaction("transformer", settings=settings) as cursor:
        cursor.execute("select exists (select from ops.runs where status = 'succeeded')")
        (is_in_service,) = cursor.fetchone() or (False,)
        if not is_in_service or is_done(cursor, date):
            return None
        cursor.execute(
            "select run_id from ops.runs where business_date = %s and source is null "
            "order by run_seq desc limit 1",
            (date,),
        )
        row = cursor.fetchone()
    return LateRun(date, due_at(date, settings), row[0] if row else None)
