"""`ecommerce-dw status`: is it all right, and what says so."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import CliRunner

from ecommerce_dw import db
from ecommerce_dw.alerts import TaskFailure, evaluate
from ecommerce_dw.commands import status
from ecommerce_dw.freshness import check_freshness
from ecommerce_dw.nightly import last_due_date
from ecommerce_dw.runs import close_run, freeze, open_run
from ecommerce_dw.settings import Settings
from ecommerce_dw.state import LITTLE_ROOM, NextRun, read_state
from tests.support.raw_rows import RawRows
from tests.support.receivers import receiving_mail

DAY = dt.date(2026, 3, 31)
NOW = dt.datetime(2026, 4, 1, 5, 30, tzinfo=dt.UTC)
TOMORROW = NextRun(dt.datetime(2026, 4, 2, 2, tzinfo=dt.UTC), is_paused=False)


@pytest.fixture
def raw(owner: db.Connection, settings: Settings) -> RawRows:
    rows = RawRows(owner, settings)
    rows.create_tables("ecommerce")
    return rows


def night(settings: Settings, date: dt.date = DAY, *, failed: str | None = None) -> None:
    """A run that took 95 s and ended at 02:01:35, with what it publishes."""
    run_id = f"scheduled__{date}"
    connection = db.connect("transformer", settings=settings)
    open_run(connection, run_id, business_date=date)
    freeze(connection, run_id)
    close_run(connection, run_id, is_success=failed is None, message=failed and f"failed: {failed}")
    start = dt.datetime.combine(date + dt.timedelta(days=1), dt.time(2), dt.UTC)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "update ops.runs set started_at = %s, finished_at = %s where run_id = %s",
            (start, start + dt.timedelta(seconds=95), run_id),
        )
        for table in ("sales_summary", "customer_summary"):
            if failed is None:
                cursor.execute(
                    "insert into ops.publications (run_id, load_id_to, table_name, is_full, rows_inserted, "
                    "rows_updated, rows_deleted, published_at) values (%s, 1, %s, false, 600, 30, 4, %s)",
                    (run_id, table, start + dt.timedelta(seconds=90)),
                )
    connection.close()


def lines(settings: Settings, now: dt.datetime = NOW, next_run: NextRun | None = TOMORROW) -> dict[str, str]:
    shown = read_state(settings, now, next_run).lines()
    assert len(shown) == 9
    return {line[:11].strip(): line[11:] for line in shown}


def test_a_good_night_in_nine_lines(settings: Settings, raw: RawRows) -> None:
    for day in range(1, 31):
        raw.load("ecommerce", "orders", dt.date(2026, 3, day), [])
    raw.load("ecommerce", "orders", DAY, [{"order_id": str(n)} for n in range(12)])
    with raw.connection.cursor() as cursor:
        cursor.execute("update raw.load_ledger set rows_read = 10, rows_loaded = 10 where rows_loaded = 0")
    check_freshness(settings, "run", DAY)
    night(settings)
    shown = lines(settings)
    sizes = shown.pop("sizes")
    assert sizes.startswith("warehouse ") and " free of " in sizes
    assert shown == {
        "OK": "published up to 2026-03-31",
        "sources": "ecommerce as of 2026-03-31 (fresh)",
        "last run": "scheduled__2026-03-31 about 2026-03-31: succeeded at 2026-04-01 02:01 UTC, took 95 s",
        "published": "2026-04-01 02:01 UTC (3 h ago), 1,268 rows changed in 2 tables",
        "rows": "ecommerce 12 on 2026-03-31, usually 10 (+20%)",
        "unsettled": "0 refused files, 0 rejected rows",
        "incidents": "none open",
        "next run": "2026-04-02 02:00 UTC (in 20 h)",
    }


def test_an_empty_warehouse_is_all_right(settings: Settings) -> None:
    shown = lines(settings, next_run=None)
    assert shown["OK"] == "nothing was published yet"
    assert "no file has been loaded" in shown["sources"]


@pytest.mark.parametrize(
    ("next_run", "text"),
    [
        (NextRun(TOMORROW.at, is_paused=True), "none: the DAG is paused"),
        (NextRun(NOW - dt.timedelta(hours=3), is_paused=False), "due since 2026-04-01 02:30 UTC"),
        (None, "there is no Airflow here"),
    ],
)
def test_when_the_next_run_is(settings: Settings, next_run: NextRun | None, text: str) -> None:
    assert text in lines(settings, next_run=next_run)["next run"]


def test_a_late_run_is_said_first(settings: Settings) -> None:
    night(settings, DAY - dt.timedelta(days=1))
    assert "OK" in lines(settings, dt.datetime(2026, 4, 1, 5, 59, tzinfo=dt.UTC))
    shown = lines(settings, dt.datetime(2026, 4, 1, 6, tzinfo=dt.UTC))
    assert shown["ATTENTION"] == "the nightly run about 2026-03-31 is late (due 2026-04-01 06:00 UTC)"
    night(settings)
    assert "OK" in lines(settings, dt.datetime(2026, 4, 1, 6, tzinfo=dt.UTC))


def test_what_needs_a_person_and_what_can_wait(
    settings: Settings, owner: db.Connection, raw: RawRows
) -> None:
    raw.load("ecommerce", "orders", DAY, [])
    night(settings)
    with owner.cursor() as cursor:
        cursor.execute(
            "insert into ops.incidents (scope, object, rule, severity, title, opened_at) values "
            "('dag', 'raw.orders', 'volume', 'warning', 'Fewer orders than usual', %s)",
            (NOW - dt.timedelta(hours=3),),
        )
    shown = lines(settings)
    assert shown["OK"] == "published up to 2026-03-31; 1 warning open"
    assert shown["incidents"] == "1 open · warning for 3 h: Fewer orders than usual"

    raw.refuse("ecommerce", "payments", DAY)
    check_freshness(settings, "run", DAY + dt.timedelta(days=2))
    evaluate(settings, "run", task_failures=[TaskFailure("publish")])
    shown = lines(settings)
    for text in (
        "File refused: ecommerce payments/dt=2026-03-31/payments.csv",
        "Source stale: ecommerce has no data since 2026-03-31",
        "Task failed: ecommerce_etl_pipeline.publish",
    ):
        assert text in shown["ATTENTION"]
    assert shown["sources"] == "ecommerce as of 2026-03-31 (stale, 2 days behind)"
    assert shown["unsettled"] == "1 refused files, 0 rejected rows"


def test_a_failed_run_and_a_full_disk_need_a_person(settings: Settings) -> None:
    night(settings, failed="load")
    state = read_state(settings, NOW, TOMORROW)
    assert state.problems == ("the last run failed (failed: load)",)
    full = replace(state, disk_free_bytes=LITTLE_ROOM - 1)
    assert full.problems[-1] == "the disk is nearly full (1,000 MB free)"


@pytest.fixture
def call(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Calls the command on the test's warehouse; exit code and output."""

    def call(*arguments: str, **values: object) -> tuple[int, str]:
        used = settings.model_copy(update=values)
        monkeypatch.setattr(status, "get_settings", lambda: used)
        done = CliRunner().invoke(status.command, list(arguments))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    return call


def test_the_exit_code_and_the_json_say_the_same(
    settings: Settings, call: Callable[..., tuple[int, str]]
) -> None:
    code, text = call()
    assert code == 0 and text.startswith("OK")
    night(settings, failed="load")
    code, text = call()
    assert code == 1 and text.startswith("ATTENTION")
    code, text = call("--json")
    told = json.loads(text)
    assert (code, told["is_ok"]) == (1, False)
    assert told["last_run"]["message"] == "failed: load"
    assert {"sources", "open_incidents", "last_publication", "next_run", "warehouse_bytes"} <= set(told)
    code, text = call(warehouse_port=1)
    assert code == 3 and "does not answer" in text


def test_notify_tells_people_once_that_no_run_was_started(
    settings: Settings, call: Callable[..., tuple[int, str]]
) -> None:
    due = last_due_date(dt.datetime.now(dt.UTC), settings)
    night(settings, due - dt.timedelta(days=1))
    with receiving_mail() as inbox:
        mail = {"smtp_host": "127.0.0.1", "smtp_port": inbox.port, "alert_mail_to": "oncall@example.com"}
        assert call(**mail)[0] == 1
        assert inbox.mails == [], "a look alone tells nobody"
        assert call("--notify", **mail)[0] == call("--notify", **mail)[0] == 1
        [alert] = inbox.mails
        assert alert["Subject"].startswith(f"Run late: {due} is not published")
        assert "was never started" in alert.get_content()


def test_a_database_without_tables_is_named(
    call: Callable[..., tuple[int, str]], settings: Settings, owner: db.Connection
) -> None:
    with owner.cursor() as cursor:
        cursor.execute("alter table raw.load_ledger rename to another")
    code, text = call()
    assert code == 3 and "ecommerce-dw migrate" in text
