"""A nightly run that is late, an entity that stays away: one alert, and one when it is over."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterator

import pytest

from ecommerce_dw import db
from ecommerce_dw.alerts import evaluate
from ecommerce_dw.freshness import check_freshness
from ecommerce_dw.nightly import LateRun, find_late_run, is_done
from ecommerce_dw.pipeline import deadline_step, finish_step, on_deadline
from ecommerce_dw.runs import close_run, open_run
from ecommerce_dw.settings import Settings
from tests.support.raw_rows import RawRows
from tests.support.receivers import Hook, Inbox

DAY = dt.date(2026, 3, 31)
NEXT_DAY = dt.date(2026, 4, 1)
RUN = "scheduled__2026-04-01T02:00:00+00:00"


@pytest.fixture
def settings(make_alerting: Callable[..., Settings]) -> Settings:
    """A warehouse whose alerts go to both receivers."""
    return make_alerting(
        alert_mail_to="oncall@example.com",
    )


@pytest.fixture
def loader(settings: Settings) -> Iterator[db.Connection]:
    connection = db.connect("loader", settings=settings)
    yield connection
    connection.close()


@pytest.fixture
def raw(owner: db.Connection, settings: Settings) -> RawRows:
    rows = RawRows(owner, settings)
    rows.create_tables("ecommerce")
    return rows


def at(hour: int, minute: int = 0, date: dt.date = NEXT_DAY) -> dt.datetime:
    return dt.datetime.combine(date, dt.time(hour, minute), dt.UTC)


def run(
    connection: db.Connection,
    run_id: str,
    date: dt.date,
    *,
    started_at: dt.datetime | None = None,
    source: str | None = None,
    is_success: bool = True,
) -> None:
    """A run that has ended."""
    open_run(connection, run_id, business_date=date, source=source)
    close_run(connection, run_id, is_success=is_success)
    with connection, connection.cursor() as cursor:
        cursor.execute("update ops.runs set started_at = %s where run_id = %s", (started_at or at(2), run_id))


def test_a_missed_deadline_alerts_once_and_the_run_that_succeeds_closes_it(
    settings: Settings, loader: db.Connection, inbox: Inbox, hook: Hook
) -> None:
    open_run(loader, RUN, business_date=DAY)
    deadline_step(run_id=RUN, business_date=DAY, settings=settings)
    assert [mail["Subject"] for mail in inbox.mails] == [
        "Run late: 2026-03-31 is not published, due by 06:00 UTC"
    ]
    content = inbox.mails[0].get_content()
    assert "The nightly run about 2026-03-31 is running" in content
    assert "Nothing was ever published." in content
    assert f"run {RUN}" in content and "docs/runbooks/run-late.md" in content
    assert "/runs/scheduled__2026-04-01T02%3A00%3A00%2B00%3A00" in hook.posts[0]["text"]

    # Told again by the triggerer, evaluated by whoever: nothing new is sent while it goes on.
    deadline_step(run_id=RUN, business_date=DAY, settings=settings)
    assert evaluate(settings, "another run").closed == ()
    finish_step(run_id=RUN, task_states={"build_marts": "failed"}, settings=settings)
    assert [mail["Subject"] for mail in inbox.mails[1:]] == [
        "Task failed: ecommerce_etl_pipeline.build_marts"
    ]

    finish_step(run_id=RUN, task_states={"load": "success", "build_marts": "success"}, settings=settings)
    assert [mail["Subject"] for mail in inbox.mails[2:]] == [
        "Recovered: Run late: 2026-03-31 is not published, due by 06:00 UTC",
        "Recovered: Task failed: ecommerce_etl_pipeline.build_marts",
    ]
    assert len(hook.posts) == len(inbox.mails) == 4


def test_a_run_that_ended_while_the_deadline_was_looked_at_alerts_nobody(
    settings: Settings, loader: db.Connection, inbox: Inbox
) -> None:
    run(loader, RUN, DAY)
    deadline_step(run_id=RUN, business_date=DAY, settings=settings)
    assert inbox.mails == []


@pytest.mark.parametrize("run_type", ["manual", "backfill", "operator_triggered"])
def test_only_scheduled_runs_have_readers_waiting(run_type: str) -> None:
    """Without settings of a warehouse: none is asked."""
    context = {"dag_run": {"run_type": run_type, "dag_run_id": "dev__1", "logical_date": None}}
    assert asyncio.run(on_deadline(context)) == f"Ignored: dev__1 is a {run_type} run."


def test_a_run_that_never_started_is_late_from_its_deadline_on(
    settings: Settings, loader: db.Connection
) -> None:
    assert find_late_run(settings, at(12)) is None, "not in service yet"
    run(loader, "the night before", DAY - dt.timedelta(days=1), started_at=at(2, date=DAY))
    assert find_late_run(settings, at(5, 59)) is None
    assert find_late_run(settings, at(6)) == LateRun(DAY, at(6), None)
    patient = settings.model_copy(update={"nightly_deadline_hours": 10.0})
    assert find_late_run(patient, at(11, 59)) is None
    assert find_late_run(patient, at(12)) == LateRun(DAY, at(12), None)
    run(loader, RUN, DAY, is_success=False)
    assert find_late_run(settings, at(7)) == LateRun(DAY, at(6), RUN)
    run(loader, RUN, DAY)
    assert find_late_run(settings, at(7)) is None


def test_what_counts_as_done(settings: Settings, loader: db.Connection, raw: RawRows) -> None:
    def done() -> bool:
        with loader, loader.cursor() as cursor:
            return is_done(cursor, DAY)

    raw.load("ecommerce", "orders", "2026-03-20", [])
    run(loader, "of one source", DAY, source="ecommerce")
    run(loader, "failed", DAY, is_success=False)
    run(loader, "of an old day", dt.date(2026, 3, 10))
    run(loader, "of all there was, the day before", dt.date(2026, 3, 20), started_at=at(2, date=DAY))
    assert not done()
    # A shop whose files end earlier: all there is was taken in after the day's end.
    run(loader, "of all there is", dt.date(2026, 3, 20))
    assert done()
    raw.load("ecommerce", "orders", "2026-03-30", [])
    assert not done()
    run(loader, "about the day after", NEXT_DAY, started_at=at(2, date=NEXT_DAY))
    assert done()


def test_an_entity_that_stays_away_alerts_once_and_recovers(
    settings: Settings, raw: RawRows, inbox: Inbox, hook: Hook
) -> None:
    def night(day: int, *entities: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        date = dt.date(2026, 3, day)
        for entity in entities:
            raw.load("ecommerce", entity, date, [])
        check_freshness(settings, f"run {day}", date)
        outcome = evaluate(settings, f"run {day}")
        return outcome.opened, outcome.closed

    title = "Entity missing: ecommerce has no payments since 2026-03-27"
    assert night(27, "orders", "payments") == ((), ())
    assert night(28, "orders") == ((), ()), "a day is allowed, and returns were never delivered"
    assert night(29, "orders") == ((title,), ())
    assert night(30, "orders") == ((), ())
    assert [mail["Subject"] for mail in inbox.mails] == [title]
    assert "has delivered up to 2026-03-29" in hook.posts[0]["text"]
    assert night(31, "orders", "payments") == ((), (title,))
    assert len(inbox.mails) == len(hook.posts) == 2


def test_a_stale_source_speaks_for_its_entities(settings: Settings, raw: RawRows, inbox: Inbox) -> None:
    raw.load("ecommerce", "payments", "2026-03-20", [])
    raw.load("ecommerce", "orders", "2026-03-27", [])
    check_freshness(settings, "run", DAY)
    assert evaluate(settings, "run").opened == ("Source stale: ecommerce has no data since 2026-03-27",)
    raw.load("ecommerce", "orders", "2026-03-31", [])
    check_freshness(settings, "run", DAY)
    outcome = evaluate(settings, "run")
    assert outcome.closed == ("Source stale: ecommerce has no data since 2026-03-27",)
    assert outcome.opened == ("Entity missing: ecommerce has no payments since 2026-03-20",)
