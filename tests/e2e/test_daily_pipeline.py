"""The daily pipeline through a real scheduler: days, reruns, a refused file, alerts, recovery.

The tests of this module are one story on one platform and run in order.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

from shop_simulator import generate
from tests.e2e.checkout import make_checkout
from tests.e2e.running import DAG, Platform
from tests.support.receivers import receiving_mail, receiving_posts

LAST = dt.date(2026, 1, 31)
NEXT = LAST + dt.timedelta(days=1)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`./deploy.sh dev` on 30 days of a small shop, with mail and webhook."""
    folder = tmp_path_factory.mktemp("daily")
    opening = LAST - dt.timedelta(days=29)
    generate(folder / "days", opening=opening, first=NEXT, last=NEXT + dt.timedelta(days=3), scale=0.5)
    with receiving_mail() as inbox, receiving_posts() as hook:
        checkout = make_checkout(folder / "checkout", small_dag=False)
        (checkout.folder / ".env").write_text(
            f"SMTP_HOST=127.0.0.1\nSMTP_PORT={inbox.port}\nALERT_MAIL_TO=oncall@example.com\n"
            f"ALERT_WEBHOOK_URL={hook.url}\n"
        )
        try:
            done = checkout.run("dev", "--days", "30", "--end", str(LAST), "--scale", "0.5", "--no-ui")
            assert done.returncode == 0, done.stdout + done.stderr
            # The schedule's own run is about another day; this story triggers its own.
            paused = checkout.run("run", "airflow", "dags", "pause", "-y", DAG)
            assert paused.returncode == 0, paused.stderr
            yield Platform(checkout, inbox, hook, folder / "days")
        finally:
            checkout.run("reset", "--yes")


def test_dev_publishes_marts_that_answer(platform: Platform) -> None:
    assert int(platform.sql("select count(*) from marts.customer_summary")) > 50
    sold = platform.sql("select sum(net_amount) from marts.sales_summary where period_type = 'month'")
    lines = platform.sql(
        "select sum(gross_amount - discount_amount - cancelled_amount) from warehouse.fact_order_items"
    )
    refunded = platform.sql("select sum(refund_amount) from warehouse.fact_returns")
    assert float(refunded) > 0
    assert Decimal(sold) == Decimal(lines) - Decimal(refunded) > 0


def test_no_alert_was_raised_by_a_good_run(platform: Platform) -> None:
    assert platform.sql("select title from ops.alerts where severity = 'critical'") == ""


@pytest.mark.slow
def test_the_same_day_again_changes_no_fingerprint(platform: Platform) -> None:
    before = platform.fingerprint()
    assert len(before) >= 10
    unpaused = platform.checkout.run("run", "airflow", "dags", "test", DAG, str(LAST))
    assert unpaused.returncode == 0, unpaused.stdout[-3000:] + unpaused.stderr[-3000:]
    assert platform.fingerprint() == before


def test_a_refused_file_stops_the_run_at_its_boundary_with_one_alert(platform: Platform) -> None:
    platform.checkout.run("run", "airflow", "dags", "unpause", "-y", DAG)
    before = platform.fingerprint()
    mails, posts = len(platform.inbox.mails), len(platform.hook.posts)
    platform.land(NEXT)
    broken = platform.landing / f"orders/dt={NEXT}/orders.csv"
    broken.write_text(broken.read_text().replace("order_id", "order_number", 1))

    assert platform.trigger(business_date=str(NEXT)) == "failed"

    states = platform.task_states()
    assert states["load"] == states["alert"] == "success"
    assert states["check_raw"] == "failed"
    assert states["build_staging"] == states["publish"] == "upstream_failed"
    assert platform.fingerprint() == before
    assert len(platform.inbox.mails) == mails + 1
    assert len(platform.hook.posts) == posts + 1
    text = platform.inbox.mails[-1].get_content()
    assert f"orders/dt={NEXT}/orders.csv" in text
    assert "order_id" in text


def test_the_same_cause_again_alerts_nobody_again(platform: Platform) -> None:
    mails, posts = len(platform.inbox.mails), len(platform.hook.posts)
    assert platform.trigger(business_date=str(NEXT)) == "failed"
    assert (len(platform.inbox.mails), len(platform.hook.posts)) == (mails, posts)


def test_a_corrected_file_heals_the_run_and_says_so_once(platform: Platform) -> None:
    mails, posts = len(platform.inbox.mails), len(platform.hook.posts)
    platform.land(NEXT, "orders")
    assert platform.trigger(business_date=str(NEXT)) == "success"
    assert len(platform.inbox.mails) == mails + 1
    assert len(platform.hook.posts) == posts + 1
    assert platform.sql("select max(period_start) from marts.sales_summary where period_type = 'day'") == str(
        NEXT
    )
    assert platform.sql("select count(*) from ops.incidents where closed_at is null") == "0"


@pytest.mark.slow
def test_a_backfill_of_two_days_ends_as_a_plain_build_does(platform: Platform) -> None:
    second, third = NEXT + dt.timedelta(days=1), NEXT + dt.timedelta(days=2)
    platform.land(second)
    platform.land(third)
    done = platform.checkout.run(
        "run", "airflow", "backfill", "create", "--dag-id", DAG,
        "--from-date", f"{second}T00:00:00+00:00", "--to-date", f"{third}T23:00:00+00:00",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    deadline = time.monotonic() + 60
    while platform.sql("select count(*) from dag_run where run_type = 'backfill'", "airflow") == "0":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert platform.wait("run_type = 'backfill'") == "success"
    after = platform.fingerprint()

    rebuilt = platform.checkout.run("run", "ecommerce-dw", "build", "--full-refresh")
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
    assert platform.fingerprint() == after


def test_stop_leaves_no_process(platform: Platform) -> None:
    assert platform.checkout.run("stop").returncode == 0
    assert platform.checkout.wait_for_end_of_processes() == []
