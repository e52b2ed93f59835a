"""One alert when an incident opens, one when it closes, into a real inbox and a real webhook."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from collections.abc import Callable, Iterator

import pytest

from ecommerce_dw import db
from ecommerce_dw.alerts import Evaluation, TaskFailure, evaluate
from ecommerce_dw.alerts.channels import Channel, Message
from ecommerce_dw.alerts.delivery import BUNDLE_ABOVE
from ecommerce_dw.freshness import check_freshness
from ecommerce_dw.settings import Settings
from tests.support.raw_rows import RawRows
from tests.support.receivers import Hook, Inbox

RUN = "scheduled__2026-03-31T02:00:00+00:00"


@pytest.fixture
def settings(make_alerting: Callable[..., Settings]) -> Settings:
    """A warehouse whose alerts go to both receivers."""
    return make_alerting(
        alert_mail_to="data@example.com, shop@example.com",
        airflow_url="http://airflow.example.com:8080",
        alert_retry_seconds=0,
    )


@pytest.fixture
def owner(settings: Settings) -> Iterator[db.Connection]:
    connection = db.connect("owner", settings=settings)
    connection.autocommit = True
    yield connection
    connection.close()


@pytest.fixture
def raw(owner: db.Connection, settings: Settings) -> RawRows:
    rows = RawRows(owner, settings)
    rows.create_tables("ecommerce")
    return rows


def result(
    owner: db.Connection,
    *,
    name: str = "fact_orders.order_key is unique",
    run_id: str = RUN,
    is_success: bool = False,
    is_accepted: bool = False,
    severity: str = "critical",
    checkpoint: str = "warehouse",
) -> None:
    with owner.cursor() as cursor:
        cursor.execute("delete from ops.expectation_results where run_id = %s and name = %s", (run_id, name))
        cursor.execute(
            """
            insert into ops.expectation_results (
                run_id, checkpoint, suite, name, expectation_type, object, severity, is_success, is_accepted,
                unexpected_count, message
            ) values (%s, %s, 'suite', %s, 'type', %s, %s, %s, %s, 2, %s)
            """,
            (
                run_id,
                checkpoint,
                name,
                name.split(".")[0],
                severity,
                is_success,
                is_accepted,
                None if is_success else f"{name}: 2 rows break it. order_key=abc. To do: look.",
            ),
        )


def text(inbox: Inbox, number: int = -1) -> str:
    content = inbox.mails[number].get_content()
    assert isinstance(content, str)
    return content


def alerts(owner: db.Connection) -> list[tuple[str, str, dict[str, dict[str, object]]]]:
    with owner.cursor() as cursor:
        cursor.execute("select kind, title, deliveries from ops.alerts order by alert_id")
        return cursor.fetchall()


def test_a_failed_expectation_alerts_once_and_once_more_when_it_holds_again(
    settings: Settings, owner: db.Connection, inbox: Inbox, hook: Hook
) -> None:
    result(owner)
    outcome = evaluate(settings, RUN)
    assert len(outcome.opened) == 1
    assert len(inbox.mails) == len(hook.posts) == 1
    mail = inbox.mails[0]
    assert mail["Subject"] == "Expectation failed (critical): fact_orders.order_key is unique"
    assert mail["To"] == "data@example.com, shop@example.com"
    for part in (
        "marts stays as it was",
        "2 rows break it",
        'ecommerce-dw accept --expectation "fact_orders.order_key is unique"',
        "http://airflow.example.com:8080/dags/ecommerce_etl_pipeline/runs/scheduled__2026-03-31T02%3A00%3A00%2B00%3A00",
    ):
        assert part in text(inbox)
        assert part.replace('"', '"') in hook.posts[0]["text"]

    for _ in range(2):  # nothing new: nothing is sent
        again = evaluate(settings, RUN)
        assert (again.opened, again.closed, again.deliveries) == ((), (), ())
    result(owner, run_id="manual__2")  # fails in the next run too: the same incident
    assert evaluate(settings, "manual__2").opened == ()
    assert len(inbox.mails) == len(hook.posts) == 1

    result(owner, run_id="manual__3", is_success=True)
    assert len(evaluate(settings, "manual__3").closed) == 1
    assert len(inbox.mails) == len(hook.posts) == 2
    recovery = inbox.mails[1]
    assert recovery["Subject"].startswith("Recovered: Expectation failed")
    assert recovery["In-Reply-To"] == mail["Message-ID"]
    assert evaluate(settings, "manual__3").as_dict()["open"] == 0

    result(owner, run_id="manual__4")  # a new incident, told anew
    evaluate(settings, "manual__4")
    assert len(inbox.mails) == len(hook.posts) == 3
    assert [kind for kind, _, _ in alerts(owner)] == ["opened", "closed", "opened"]


def test_an_accepted_expectation_closes_its_incident(
    settings: Settings, owner: db.Connection, inbox: Inbox
) -> None:
    result(owner)
    evaluate(settings, RUN)
    result(owner, is_accepted=True)
    evaluate(settings, RUN)
    assert "A person accepted" in text(inbox)


def test_a_checkpoint_that_was_not_reached_leaves_its_incidents_open(
    settings: Settings, owner: db.Connection, inbox: Inbox
) -> None:
    result(owner, checkpoint="marts", name="sales_summary.net adds up", severity="warning")
    evaluate(settings, RUN)
    result(owner, run_id="next", checkpoint="raw", name="load_ledger.x", is_success=True)
    assert evaluate(settings, "next").closed == ()
    assert len(inbox.mails) == 1


def test_a_refused_file_has_one_incident_and_its_expectation_and_task_none(
    settings: Settings, owner: db.Connection, raw: RawRows, inbox: Inbox, hook: Hook
) -> None:
    raw.refuse("ecommerce", "orders", "2026-03-31")
    result(owner, checkpoint="raw", name="load_ledger.no file is refused")
    evaluate(settings, RUN)
    assert [mail["Subject"] for mail in inbox.mails] == [
        "File refused: ecommerce orders/dt=2026-03-31/orders.csv"
    ]
    assert "ecommerce-dw discard orders/dt=2026-03-31/orders.csv" in text(inbox)
    assert "too many rows failed." in text(inbox)
    raw.load("ecommerce", "orders", "2026-03-31", [])
    evaluate(settings, "next")
    assert inbox.mails[1]["Subject"] == "Recovered: File refused: ecommerce orders/dt=2026-03-31/orders.csv"
    assert "is loaded (version 2, 0 rows)" in text(inbox)
    assert len(hook.posts) == 2


def test_a_stale_source_alerts_and_recovers_and_past_days_say_nothing(
    settings: Settings, raw: RawRows, inbox: Inbox
) -> None:
    raw.load("ecommerce", "orders", "2026-03-25", [])
    statuses = {r.source: r.status for r in check_freshness(settings, "r26", dt.date(2026, 3, 26))}
    assert statuses == {"ecommerce": "warn", "online_retail": "none", "sales": "none"}
    assert evaluate(settings, "r26").opened == ()
    check_freshness(settings, "r31", dt.date(2026, 3, 31))
    assert evaluate(settings, "r31").opened == ("Source stale: ecommerce has no data since 2026-03-25",)
    assert "6 days before 2026-03-31" in text(inbox)
    # A run for a past day, where the source was fresh, closes nothing.
    past = {r.source: r.status for r in check_freshness(settings, "r25", dt.date(2026, 3, 25))}
    assert past["ecommerce"] == "fresh"
    assert evaluate(settings, "r25").closed == ()
    raw.load("ecommerce", "orders", "2026-03-31", [])
    check_freshness(settings, "r31", dt.date(2026, 3, 31))
    assert len(evaluate(settings, "r31").closed) == 1
    assert len(inbox.mails) == 2


def test_a_failed_task_recovers_when_it_succeeds_in_a_later_run(
    settings: Settings, inbox: Inbox, hook: Hook
) -> None:
    evaluate(settings, RUN, task_failures=[TaskFailure("build_marts", "disk full")])
    evaluate(settings, RUN, task_failures=["build_marts"])
    assert len(inbox.mails) == 1
    assert "disk full" in text(inbox)
    assert "/tasks/build_marts" in hook.posts[0]["text"]
    assert evaluate(settings, "next", task_successes=["publish"]).closed == ()
    assert evaluate(settings, "next", task_successes=["build_marts"]).closed
    assert len(inbox.mails) == len(hook.posts) == 2


def test_a_broken_channel_breaks_nothing_and_is_tried_again(
    settings: Settings, owner: db.Connection, inbox: Inbox, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    inbox.refuses = True
    hook.answers = 403
    result(owner)
    outcome = evaluate(settings, RUN)
    assert len(outcome.opened) == 1
    errors = {delivery.channel: delivery.error for delivery in outcome.failed_deliveries}
    assert "451" in str(errors["smtp"])
    assert "403" in str(errors["webhook"]) and "invalid_token" in str(errors["webhook"])
    assert "secret" not in str(errors["webhook"]), "the address is a secret"
    assert "are tried again" in caplog.text
    [(_, _, deliveries)] = alerts(owner)
    assert deliveries["smtp"]["status"] == deliveries["webhook"]["status"] == "failed"

    hook.answers = 200
    evaluate(settings, RUN)
    assert (len(inbox.mails), len(hook.posts)) == (0, 1)
    inbox.refuses = False
    evaluate(settings, RUN)
    evaluate(settings, RUN)
    assert (len(inbox.mails), len(hook.posts)) == (1, 1)
    [(_, _, deliveries)] = alerts(owner)
    assert deliveries["smtp"] | {"at": 0} == {"status": "delivered", "attempts": 3, "at": 0}


def test_a_server_that_is_not_there_is_asked_once_per_evaluation(
    settings: Settings, owner: db.Connection, hook: Hook
) -> None:
    away = settings.model_copy(update={"smtp_port": 1})
    result(owner, name="a.one")
    result(owner, name="a.two")
    outcome = evaluate(away, RUN)
    assert len(outcome.opened) == 2
    assert len(outcome.failed_deliveries) == 1
    assert len(hook.posts) == 2


def test_without_channels_the_row_is_the_alert(make_settings: Callable[..., Settings]) -> None:
    plain = make_settings()
    outcome = evaluate(plain, RUN, task_failures=["load"])
    assert len(outcome.opened) == 1
    assert outcome.deliveries == ()


def test_a_channel_configured_later_is_not_flooded_with_the_past(
    settings: Settings, owner: db.Connection, inbox: Inbox
) -> None:
    result(owner)
    evaluate(settings, RUN, channels=[])
    evaluate(settings, RUN)
    assert inbox.mails == []


def test_concurrent_evaluations_send_one_alert(
    settings: Settings, owner: db.Connection, inbox: Inbox, hook: Hook
) -> None:
    result(owner)
    outcomes: list[Evaluation] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(evaluate(settings, RUN, task_failures=["load"])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(outcome.opened) for outcome in outcomes) == [0, 0, 0, 2]
    evaluate(settings, RUN, task_failures=["load"])
    assert len(inbox.mails) == len(hook.posts) == 2


def test_a_flood_is_one_message_but_every_incident_has_its_row(
    settings: Settings, owner: db.Connection, raw: RawRows, inbox: Inbox
) -> None:
    for day in range(1, BUNDLE_ABOVE + 2):
        raw.refuse("ecommerce", "orders", f"2026-03-{day:02}")
    evaluate(settings, RUN)
    assert len(alerts(owner)) == BUNDLE_ABOVE + 1
    [mail] = inbox.mails
    assert mail["Subject"] == f"{BUNDLE_ABOVE + 1} alerts: {BUNDLE_ABOVE + 1} incidents opened, 0 closed"
    assert "orders/dt=2026-03-11/orders.csv" in text(inbox)
    assert {status["smtp"]["status"] for _, _, status in alerts(owner)} == {"delivered"}


@dataclasses.dataclass
class Bug:
    """A channel with a defect of its own."""

    name: str = "bug"

    def send(self, message: Message) -> None:
        raise KeyError(message.title)


def test_a_defect_in_one_channel_leaves_the_others_alone(
    settings: Settings, owner: db.Connection, hook: Hook
) -> None:
    from ecommerce_dw.alerts.channels import WebhookChannel

    channels: list[Channel] = [Bug(), WebhookChannel(hook.url, 5.0)]
    result(owner)
    outcome = evaluate(settings, RUN, channels=channels)
    assert [delivery.channel for delivery in outcome.failed_deliveries] == ["bug"]
    assert len(hook.posts) == 1
