"""A platform that is killed under its runs, component by component; all that time it has planted secrets.

Each state has the fingerprints of an undisturbed run without Airflow. The tests of this module are one story
on one platform and run in order.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from ecommerce_dw.settings import Settings
from shop_simulator import generate
from tests.e2e.checkout import Checkout, make_checkout
from tests.e2e.running import DAG, Platform, tables, undisturbed
from tests.support.planted import PLANTED, Arguments, files_of, search
from tests.support.receivers import receiving_mail, receiving_posts

pytestmark = pytest.mark.slow

SCALE = 0.3
OPENING = dt.date(2026, 1, 27)
LAST = dt.date(2026, 1, 31)
#: What is killed, under which task, one a day.
KILLS = [
    ("scheduler", "load"),
    ("scheduler", "build_warehouse"),
    ("scheduler", "publish"),
    ("postgres", "build_marts"),
    ("api-server", "build_warehouse"),
    ("dag-processor", "load"),
]
DAYS = [LAST + dt.timedelta(days=number + 1) for number in range(len(KILLS))]


SAMPLE = ("--days", str((LAST - OPENING).days + 1), "--end", str(LAST), "--scale", str(SCALE), "--no-ui")


@dataclass
class Story:
    """A platform, the secrets it was given, and what it has said."""

    platform: Platform
    planted: dict[str, str]
    arguments: Arguments
    said: list[str] = field(default_factory=list)

    @property
    def checkout(self) -> Checkout:
        return self.platform.checkout

    def call(self, *arguments: str) -> str:
        """Output of a call of deploy.sh that has to succeed."""
        done = self.checkout.run(*arguments)
        self.said.append(done.stdout + done.stderr)
        assert done.returncode == 0, self.said[-1]
        return done.stdout

    def start_again(self) -> None:
        """`./deploy.sh dev`, once more where it asks: a scheduler may die of its server a minute later."""
        done = self.checkout.run("dev", *SAMPLE)
        self.said.append(done.stdout + done.stderr)
        if done.returncode:
            assert "Run ./deploy.sh dev again; the run goes on." in done.stderr, self.said[-1]
            self.call("dev", *SAMPLE)

    def kill_under(self, run_id: str, day: dt.date, task_id: str, pid: int) -> None:
        """Have the scheduler run a day, and kill a process as soon as one of the run's tasks is at work."""
        conf = json.dumps({"business_date": str(day)})
        trigger = self.checkout.start(
            *("run", "airflow", "dags", "trigger", DAG, "--run-id", run_id, "--conf", conf)
        )
        query = (
            f"select count(*) from task_instance where run_id = '{run_id}' and task_id = '{task_id}' "
            "and state = 'running'"
        )
        deadline = time.monotonic() + 240
        while self.platform.sql(query, "airflow") == "0":
            assert time.monotonic() < deadline, f"{task_id} was not seen at work"
        os.kill(pid, signal.SIGKILL)
        self.said += trigger.communicate()  # a short task is at work before this command has ended


def make_secrets() -> dict[str, str]:
    key = base64.urlsafe_b64encode(os.urandom(32)).decode()
    planted = {name: f"planted{secrets.token_hex(12)}" for name in PLANTED}
    # A wrong password of Airflow's own database or of Redis, which this platform does not have, is not used.
    return planted | {"airflow_fernet_key": key}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """`./deploy.sh dev` on five days of a small shop, every secret a planted one."""
    folder = tmp_path_factory.mktemp("faults")
    generate(folder / "days", opening=OPENING, first=OPENING, last=DAYS[-1], scale=SCALE)
    planted = make_secrets()
    with receiving_mail() as inbox, receiving_posts() as hook:
        planted["alert_webhook_url"] = f"{hook.url}/planted{secrets.token_hex(12)}"
        checkout = make_checkout(folder / "checkout", small_dag=False)
        file = checkout.folder / ".env"
        file.touch(mode=0o600)
        file.write_text(
            "".join(f"{name.upper()}={value}\n" for name, value in planted.items())
            + f"SMTP_HOST=127.0.0.1\nSMTP_PORT={inbox.port}\nALERT_MAIL_TO=oncall@example.com\n"
        )
        with Arguments(planted) as arguments:
            made = Story(Platform(checkout, inbox, hook, folder / "days"), planted, arguments)
            try:
                made.call("dev", *SAMPLE)
                made.call("run", "airflow", "dags", "pause", "-y", "simulate_shop_day")
                yield made
            finally:
                checkout.run("reset", "--yes")


@pytest.mark.parametrize("number", range(len(KILLS)))
def test_a_component_killed_under_a_run_leaves_no_trace(
    story: Story,
    number: int,
    figure: Callable[..., None],
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (component, task), day = KILLS[number], DAYS[number]
    story.platform.land(day)
    pid = json.loads(story.call("status", "--json"))["components"][component]["pid"]
    run_id = f"test__{day}"
    story.kill_under(run_id, day, task, pid)
    figure("kills of a component by task", f"{task}: {component}")
    story.start_again()
    assert story.platform.wait(f"run_id = '{run_id}'", seconds=600) == "success"

    monkeypatch.setenv("LANDING_ECOMMERCE", str(story.platform.landing))
    assert undisturbed(make_settings(), OPENING, day) == tables(story.checkout)


def test_a_refused_file_alerts_and_its_correction_heals(story: Story) -> None:
    broken = story.platform.landing / f"orders/dt={LAST}/orders.csv"
    content = broken.read_text()
    broken.write_text("no,such,header\n" + content)
    assert story.platform.trigger(business_date=str(LAST)) == "failed"
    broken.write_text(content)
    assert story.platform.trigger(business_date=str(LAST)) == "success"
    assert story.platform.inbox.mails and story.platform.hook.posts


def test_planted_secrets_are_in_no_log_argument_file_or_table(
    story: Story, figure: Callable[..., None]
) -> None:
    story.call("status")
    story.call("logs", "scheduler")
    story.call("stop")
    server = (story.checkout.home / "postgres").resolve()
    places = files_of(story.checkout.home, server) | {"output": "\n".join(story.said)}
    places |= {f"mail {n}": str(mail) for n, mail in enumerate(story.platform.inbox.mails)}
    places |= {f"post {n}": json.dumps(post) for n, post in enumerate(story.platform.hook.posts)}
    story.call("dev", *SAMPLE)
    for database in ("ecommerce_dw", "airflow"):
        query = (
            "select oid::regclass from pg_class where relkind = 'r' "
            "and relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema')"
        )
        for table in story.platform.sql(query, database).splitlines():
            rows = f"select coalesce(string_agg(t::text, ' '), '') from {table} as t"
            places[f"table {table} of {database}"] = story.platform.sql(rows, database)
    found = search(story.planted, places, story.arguments, figure)
    assert found == set()
    assert story.arguments.looks > 100
    # What is searched is really there.
    assert len(places["table rendered_task_instance_fields of airflow"]) > 1000
    assert any("task_id=load" in place for place in places)
    assert any("pg_wal" in place for place in places)


def test_stop_leaves_no_process(story: Story) -> None:
    story.call("stop")
    assert story.checkout.wait_for_end_of_processes() == []
