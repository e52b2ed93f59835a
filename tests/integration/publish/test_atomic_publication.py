"""Law 10: a reader of marts sees one whole state at any moment, also when a publication is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal

from ecommerce_dw import db
from ecommerce_dw.fingerprint import fingerprint
from ecommerce_dw.publish import publish
from ecommerce_dw.settings import Settings

from .conftest import MODELS

Run = Callable[..., list[tuple]]

#: A new validated state: all customers' and days' amounts move, some rows go and come; their sum stays 0.
NEXT_STATE = """
begin;
update marts_build.customer_amounts set amount = amount + 1;
update marts_build.day_amounts set amount = amount - 2;
delete from marts_build.customer_amounts
where customer_id in (select 'c' || n from generate_series(1, 10) as n);
insert into marts_build.customer_amounts
select 'shop', 'n' || n, (select max(amount) from marts_build.customer_amounts), 'new'
from generate_series(1, 10) as n
on conflict do nothing;
update marts_build.customer_amounts
set amount = amount - (
    (select sum(amount) from marts_build.customer_amounts) + (select sum(amount) from marts_build.day_amounts)
)
where customer_id = 'c2000';
commit;
"""

KILLED = """
import sys
from pathlib import Path
from ecommerce_dw.publish import publish
from ecommerce_dw.settings import Settings
settings = Settings(_env_file=None, ecommerce_dw_home=Path(sys.argv[1]), warehouse_port=int(sys.argv[2]),
                    warehouse_db=sys.argv[3])
print("ready", flush=True)
publish(settings, full=True, models=("customer_amounts", "day_amounts"))
print("published", flush=True)
"""


class Readers:
    """Readers that look at both marts again and again until stopped, and keep what they saw."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stop = threading.Event()
        self.wrong: list[str] = []
        self.looks = 0
        self.states: set[Decimal] = set()
        self.threads = [threading.Thread(target=self._single), threading.Thread(target=self._repeatable)]

    def __enter__(self) -> Readers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _note(self, customers: Decimal, days: Decimal, rows: int) -> None:
        self.looks += 1
        self.states.add(days)
        if customers + days != 0 or rows != 3000:
            self.wrong.append(f"customers {customers}, days {days}, {rows} rows")

    def _single(self) -> None:
        connection = db.connect("analyst", settings=self.settings)
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not self.stop.is_set():
                cursor.execute(
                    "select (select sum(amount) from marts.customer_amounts), "
                    "(select sum(amount) from marts.day_amounts), "
                    "(select count(*) from marts.customer_amounts) + (select count(*) from marts.day_amounts)"
                )
                self._note(*cursor.fetchone())
        connection.close()

    def _repeatable(self) -> None:
        connection = db.connect("analyst", settings=self.settings)
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        while not self.stop.is_set():
            with connection, connection.cursor() as cursor:
                cursor.execute("select sum(amount), count(*) from marts.day_amounts")
                days, day_rows = cursor.fetchone()
                time.sleep(random.random() / 50)
                cursor.execute("select sum(amount), count(*) from marts.customer_amounts")
                customers, customer_rows = cursor.fetchone()
                self._note(customers, days, day_rows + customer_rows)
        connection.close()


def test_readers_see_whole_states_while_publications_go_on(published: Settings, run: Run) -> None:
    with Readers(published) as readers:
        for _ in range(12):
            run(NEXT_STATE)
            publish(published, full=True, models=MODELS)
    assert readers.wrong == []
    assert readers.looks > 20
    assert len(readers.states) > 2


def test_a_publication_killed_at_any_point_leaves_the_old_state_or_the_new(
    published: Settings, run: Run
) -> None:
    outcomes = set()
    with Readers(published) as readers:
        for attempt in range(8):
            before = fingerprint(published, ["marts"])
            run(NEXT_STATE)
            wanted = [(t.table, t.rows, t.checksum) for t in fingerprint(published, ["marts_build"])]
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    KILLED,
                    str(published.home),
                    str(published.warehouse_port),
                    published.warehouse_db,
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.02 + attempt * 0.02)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            child.stdout.close()
            after = fingerprint(published, ["marts"])
            is_new = [(t.table, t.rows, t.checksum) for t in after] == wanted
            assert is_new or after == before
            outcomes.add(is_new)
            # A plain rerun ends where an undisturbed publication would have; no lock is left behind.
            publish(published, full=True, models=MODELS)
            assert [(t.table, t.rows, t.checksum) for t in fingerprint(published, ["marts"])] == wanted
    assert readers.wrong == []
    assert False in outcomes
