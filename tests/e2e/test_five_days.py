"""Five simulated days through the running scheduler, one of them missing, one late, one corrected; and what
people on call meet on such a platform: a run that is late, days that have to be read again.

The tests of this module are one story on one platform and run in order.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from ecommerce_dw.db import RUN_LOCK
from ecommerce_dw.fingerprint import fingerprint
from ecommerce_dw.loading.reload import Reload
from ecommerce_dw.platform.orchestrator import last_interval
from ecommerce_dw.reprocess import plan, reprocess
from ecommerce_dw.settings import Settings
from shop_simulator import generate
from tests.e2e.checkout import make_checkout
from tests.e2e.running import DAG, Platform
from tests.support.receivers import receiving_mail, receiving_posts

pytestmark = pytest.mark.slow

SCALE = 0.3
OPENING = dt.date(2026, 1, 18)
LAST = dt.date(2026, 1, 31)
DAYS = [LAST + dt.timedelta(days=number) for number in range(1, 6)]
HELD_BACK = ("orders", "order_items")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`./deploy.sh dev` on two weeks of a small shop; `days_to_come` has the files of the next five days."""
    folder = tmp_path_factory.mktemp("five_days")
    generate(folder / "days", opening=OPENING, first=OPENING, last=DAYS[-1], scale=SCALE)
    with receiving_mail() as inbox, receiving_posts() as hook:
        checkout = make_checkout(folder / "checkout", small_dag=False)
        (checkout.folder / ".env").write_text(
            f"SMTP_HOST=127.0.0.1\nSMTP_PORT={inbox.port}\nALERT_MAIL_TO=oncall@example.com\n"
            f"ALERT_WEBHOOK_URL={hook.url}\nNIGHTLY_DEADLINE_HOURS=0\n"
        )
        try:
            days = str((LAST - OPENING).days + 1)
            done = checkout.run("dev", "--days", days, "--end", str(LAST), "--scale", str(SCALE), "--no-ui")
            assert done.returncode == 0, done.stdout + done.stderr
            yield Platform(checkout, inbox, hook, folder / "days")
        finally:
            checkout.run("reset", "--yes")


def simulate(platform: Platform, day: dt.date) -> None:
    assert platform.trigger_dag("simulate_shop_day", {"date": str(day)}) == "success"
    assert platform.task_states("simulate_shop_day") == {"land_files": "success"}


def landed(platform: Platform, day: dt.date) -> set[str]:
    return {file.stem for file in platform.landing.glob(f"*/dt={day}/*.csv")}


def test_dev_switches_the_simulation_on_and_it_leaves_a_shop_that_ends_alone(platform: Platform) -> None:
    deadline = time.monotonic() + 120
    query = (
        "select state from task_instance where dag_id = 'simulate_shop_day' and state in "
        "('success', 'failed', 'skipped')"
    )
    while not (state := platform.sql(query, "airflow")):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert state == "skipped"
    assert platform.sql("select count(*) from import_error", "airflow") == "0"
    assert landed(platform, DAYS[0]) == set()


def test_five_days_end_in_the_fingerprint_of_a_clean_run(
    platform: Platform, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, fourth, fifth = DAYS

    # A day on which the customers come with a wrong city.
    simulate(platform, first)
    customers = platform.landing / f"customers/dt={first}/customers.csv"
    right = customers.read_text()
    rows = right.splitlines()
    city = rows[1].split(",")[rows[0].split(",").index("city")]
    customers.write_text(right.replace(city, "Nowhere"))
    assert customers.read_text() != right
    assert platform.trigger(business_date=str(first)) == "success"

    # A day that is missing: the platform is off. The next one brings both.
    assert landed(platform, second) == set()
    simulate(platform, third)
    assert len(landed(platform, second)) == len(landed(platform, third)) == 9
    assert platform.trigger(business_date=str(third)) == "success"

    # A day that is late: half of its files come after its run.
    simulate(platform, fourth)
    for entity in HELD_BACK:
        (platform.landing / f"{entity}/dt={fourth}/{entity}.csv").unlink()
    assert platform.trigger(business_date=str(fourth)) == "success"

    # They arrive with the fifth day, and the corrected customers of the first.
    simulate(platform, fifth)
    platform.land(fourth, *HELD_BACK)
    platform.land(first, "customers")
    assert customers.read_text() == right
    assert platform.trigger(business_date=str(fifth)) == "success"

    wrong = platform.sql("select count(*) from warehouse.dim_customers where city = 'Nowhere'")
    assert wrong == "0"
    assert platform.sql("select count(*) from raw.load_ledger where status = 'refused'") == "0"

    # The same days at once, without Airflow, into a warehouse of its own.
    monkeypatch.setenv("LANDING_ECOMMERCE", str(platform.days_to_come))
    clean = make_settings()
    reprocess(clean, plan(clean, Reload(OPENING, fifth, "ecommerce")), run_id="cli__clean")
    assert [list(table) for table in fingerprint(clean)] == [
        [table[name] for name in ("schema", "table", "rows", "checksum")] for table in platform.fingerprint()
    ]


def test_the_landing_zone_is_the_simulators_byte_for_byte(platform: Platform) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.csv")}

    assert content(platform.landing) == content(platform.days_to_come)


def test_a_day_that_is_there_is_not_made_again(platform: Platform) -> None:
    simulate(platform, DAYS[2])
    value = platform.sql(
        "select value from xcom where dag_id = 'simulate_shop_day' and key = 'return_value' "
        "order by timestamp desc limit 1",
        "airflow",
    )
    assert json.loads(value) == {"days_added": 0, "last": str(DAYS[-1])}


def test_a_dry_run_of_reprocessing_tells_and_changes_nothing(platform: Platform) -> None:
    before = platform.sql("select count(*), max(load_id) from raw.load_ledger")
    conf = {"from": str(DAYS[0]), "to": str(DAYS[1]), "source": "ecommerce", "entities": ["orders"]}
    assert platform.trigger_dag("reprocess", conf) == "success"
    assert platform.task_states("reprocess") == {
        "plan": "success",
        "is_wanted": "success",
        "run_pipeline": "skipped",
    }
    text = json.loads(
        platform.sql("select value from xcom where dag_id = 'reprocess' and key = 'markdown'", "airflow")
    )
    assert "| 2 of ecommerce.orders | 2026-02-01 to 2026-02-02 (2 days) |" in text
    assert "| warehouse.fact_orders |" in text
    [log] = (platform.checkout.home / "logs" / "tasks").glob("dag_id=reprocess/*/task_id=plan/*.log")
    assert "2 of ecommerce.orders" in log.read_text()
    assert platform.sql("select count(*), max(load_id) from raw.load_ledger") == before


def test_reprocessing_reads_the_days_again_in_a_run_of_the_pipeline(platform: Platform) -> None:
    before = platform.fingerprint()
    conf = {"from": str(DAYS[0]), "to": str(DAYS[1]), "source": "ecommerce", "dry_run": False}
    assert platform.trigger_dag("reprocess", conf) == "success"
    assert platform.task_states("reprocess")["run_pipeline"] == "success"
    assert platform.task_states(DAG)["publish"] == "success"
    again = platform.sql(
        "select count(*) filter (where version > 1), count(*) from raw.load_ledger "
        f"where is_current and business_date in ('{DAYS[0]}', '{DAYS[1]}')"
    )
    assert again == "18|18"
    assert platform.fingerprint() == before


def test_a_late_nightly_run_alerts_once_and_once_more_when_it_is_done(platform: Platform) -> None:
    """The schedule's own run, as if the platform had been off at night; the deadline is its start."""
    logical = last_interval(dt.datetime.now(dt.UTC)).replace(hour=2)
    holder = psycopg2.connect(
        host="127.0.0.1",
        port=platform.checkout.warehouse_port,
        dbname="ecommerce_dw",
        user="transformer",
        password="transformer",
    )
    title = f"Run late: {logical.date()} is not published, due by 02:00 UTC"

    def about_lateness() -> list[str]:
        return [str(mail["Subject"]) for mail in platform.inbox.mails if "Run late" in str(mail["Subject"])]

    def wait_for(titles: list[str]) -> None:
        deadline = time.monotonic() + 180
        while about_lateness() != titles and time.monotonic() < deadline:
            time.sleep(0.5)
        assert about_lateness() == titles

    try:
        with holder.cursor() as cursor:
            # The run has to wait with its first step until people were told.
            cursor.execute("select pg_advisory_lock(%s)", (RUN_LOCK,))
        platform.sql("update ops.runs set started_at = started_at - interval '2 days'")
        platform.sql(
            f"delete from dag_run where dag_id = '{DAG}'; "
            f"update dag set next_dagrun = '{logical}', next_dagrun_data_interval_start = '{logical}', "
            f"next_dagrun_data_interval_end = '{logical + dt.timedelta(days=1)}', "
            f"next_dagrun_create_after = '{logical + dt.timedelta(days=1)}' where dag_id = '{DAG}'",
            "airflow",
        )
        wait_for([title])
        shown = platform.checkout.run("run", "ecommerce-dw", "status")
        assert shown.returncode == 1
        assert shown.stdout.startswith("ATTENTION  the nightly run about")
        assert platform.sql("select run_type from dag_run where state = 'running'", "airflow") == "scheduled"
    finally:
        holder.close()
    assert platform.wait(f"dag_id = '{DAG}'") == "success"
    wait_for([title, f"Recovered: {title}"])
    assert sum("Run late" in post["text"] for post in platform.hook.posts) == 2
    # The shop's files end long before: that is said, too.
    assert any(str(mail["Subject"]).startswith("Source stale: ecommerce") for mail in platform.inbox.mails)


def test_status_says_in_ten_lines_what_needs_a_person(platform: Platform) -> None:
    shown = platform.checkout.run("status")
    assert shown.returncode == 1
    lines = shown.stdout.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("ATTENTION  Source stale: ecommerce has no data since 2026-0")
    assert "scheduler" in lines[1] and "postgres" in lines[1]
    told = json.loads(platform.checkout.run("status", "--json").stdout)
    assert told["is_healthy"] and not told["is_ok"]
    assert told["warehouse"]["sources"][0]["freshness"] == "stale"
