"""A small shop in front of a run that is to be broken: template databases, one before each of its steps."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import gzip
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2

from ecommerce_dw import db
from ecommerce_dw.fingerprint import SCHEMAS, TableFingerprint, fingerprint
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform.postgres import EmbeddedPostgres, PostgresError
from ecommerce_dw.settings import Settings
from shop_simulator import ENTITIES, generate
from tests.conftest import settings_for
from tests.support.landing import land_whole
from tests.support.victims import Fate, Order, Victims

DATABASE = "faults"
#: The disturbed run's id, each time.
RUN = "disturbed"
#: The steps of a run as the DAG has them, without the checkpoints that look at every model.
STEPS = ("load", "check_raw", "build_warehouse", "build_marts", "publish")
#: The marts that the disturbed run builds, with the dimensions, facts and states below them: a quarter of all
#: models. All marts are published.
MARTS = ("sales_summary", "customer_summary", "product_performance")
FIRST = dt.date(2026, 1, 30)
DAYS = [FIRST + dt.timedelta(days=n) for n in range(3)]

#: Net revenue by days and by customers: one identity over two marts, and whether either is empty.
IDENTITY = """
select
    (select sum(net_amount - guest_net_amount) from marts.sales_summary where period_type = 'day'),
    (select sum(net_amount) from marts.customer_summary)
"""


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    """What a step does when nothing happens to it: its statements and its time (s)."""

    statements: int
    seconds: float


class Shop:
    """A server of its own, whose warehouse has published two days; a third has landed, and one changed file.

    Attributes:
        settings: Of the warehouse.
        before: What was published before the run, by table.
        after: The fingerprint of the undisturbed run.
        steps: What each step of the undisturbed run took.
    """

    def __init__(self, server: EmbeddedPostgres, folder: Path) -> None:
        self.server = server
        self.settings: Settings = settings_for(server, DATABASE, folder / "home", load_workers=1)
        self._days = folder / "days"
        server.execute(f"create database {DATABASE}")
        migrate(self.settings)
        self._folder = folder
        self.victims = self.helper()
        generate(self._days, first=DAYS[0], last=DAYS[-1], scale=0.5)
        for day in DAYS[:-1]:
            self._land(day)
        self.take(*STEPS[:2], "build_staging", *STEPS[2:], run_id="before", marts=())
        self.before = self.prints("marts")
        self._land(DAYS[-1])
        self._change()
        self.steps: dict[str, Undisturbed] = {}
        for step in STEPS:
            self._copy(DATABASE, f"before_{step}")
            fate = self.take(step)
            self.steps[step] = Undisturbed(fate.statements, fate.seconds)
        self.after = self.prints()
        assert {p.table for p in self.before} == {p.table for p in self.after if p.schema == "marts"}
        assert [p for p in self.after if p.schema == "marts"] != self.before

    def helper(self, **environment: str) -> Victims:
        """A helper process for this shop, with variables of its own."""
        settings = {
            "ecommerce_dw_home": str(self.settings.home),
            "warehouse_port": self.server.port,
            "warehouse_db": DATABASE,
            "lock_wait_seconds": self.settings.lock_wait_seconds,
            "load_workers": 1,
        }
        return Victims(settings, self._folder / "dbt", environment)

    def _land(self, day: dt.date) -> None:
        """A day lands; its web events as gzip."""
        for entity in ENTITIES:
            data = (self._days / f"{entity}/dt={day}/{entity}.csv").read_bytes()
            is_gzip = entity == "web_events"
            self.deliver(
                f"{entity}/dt={day}/{entity}.csv{'.gz' if is_gzip else ''}",
                gzip.compress(data, mtime=0) if is_gzip else data,
            )

    def _change(self) -> None:
        """An earlier day's orders come again without the last one: rows are replaced and keys removed."""
        path = f"orders/dt={DAYS[0]}/orders.csv"
        *lines, _ = (self._days / path).read_bytes().splitlines(keepends=True)
        self.deliver(path, b"".join(lines))

    def deliver(self, path: str, data: bytes) -> Path:
        """Put a file into the landing zone."""
        return land_whole(self.settings.landing("ecommerce") / path, data)

    def reset(self, step: str = "load") -> None:
        """The warehouse as it is before a step of the run."""
        shutil.rmtree(self.settings.home / "dbt" / "runs" / RUN, ignore_errors=True)
        self._copy(f"before_{step}", DATABASE)

    def take(self, *steps: str, **options: Any) -> Fate:
        """Take steps, undisturbed."""
        (fate,) = self.victims.run(self.order(*steps, **options))
        return fate

    def order(self, *steps: str, **options: Any) -> Order:
        """Steps as an order."""
        return Order("pipeline", {"steps": steps, "run_id": RUN, "marts": MARTS} | options)

    def fail(self, *steps: str, **options: Any) -> str:
        """Take steps of which one is expected to fail; the traceback it fails with."""
        order = dataclasses.replace(self.order(*steps, **options), may_fail=True)
        (fate,) = self.victims.run(order)
        assert fate.error, f"{steps} did not fail"
        return fate.error

    def prints(self, *schemas: str) -> list[TableFingerprint]:
        """The fingerprint of all, or of some schemas."""
        return fingerprint(self.settings, schemas or ("intermediate", *SCHEMAS))

    def assert_undisturbed(self) -> None:
        """The warehouse is as after the undisturbed run."""
        found = self.prints()
        different = [entry for entry in found if entry not in self.after]
        assert found == self.after, f"other than undisturbed: {different}"

    def assert_rerun_heals(self) -> None:
        """A plain rerun of the whole run ends as the undisturbed one."""
        self.take(*STEPS)
        self.assert_undisturbed()

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query, as the owner."""
        with db.transaction(settings=self.settings) as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def wait_for_server(self) -> None:
        """Wait until the server has recovered; one that is gone is started."""
        deadline = time.monotonic() + 60
        while True:
            try:
                if not self.server.is_running():
                    self.server.start()
                self.server.execute("select 1")
                return
            except (psycopg2.OperationalError, PostgresError):
                # a killed server's processes still have its memory, or it replays its log
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def close(self) -> None:
        """End the helper process."""
        self.victims.close()

    def _copy(self, template: str, name: str) -> None:
        self.server.execute(f"drop database if exists {name} with (force)")
        self.server.execute(f"create database {name} template {template} strategy file_copy")


class Readers:
    """Analysts who look at the marts again and again until the block ends.

    One reads an identity over two marts in one statement, the other all marts in one REPEATABLE READ
    transaction. Both connect again where the server was killed.

    Args:
        shop: Whose marts.
        may_lose_server: Whether the server is killed meanwhile: a statement then fails, as it must.
    """

    def __init__(self, shop: Shop, *, may_lose_server: bool) -> None:
        self._shop = shop
        self._may_lose_server = may_lose_server
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._poll, args=(look,)) for look in (self._identity, self._whole)
        ]
        self.looks = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _poll(self, look: Callable[[Any], None]) -> None:
        while not self._is_over.is_set():
            try:
                with contextlib.closing(db.connect("analyst", settings=self._shop.settings)) as connection:
                    connection.autocommit = True
                    while not self._is_over.wait(0.02):
                        with connection.cursor() as cursor:
                            look(cursor)
                        self.looks += 1
            except psycopg2.Error as error:
                if not self._may_lose_server:
                    self.wrong.append(str(error))
                self._is_over.wait(0.05)

    def _identity(self, cursor: Any) -> None:
        cursor.execute(IDENTITY)
        days, customers = cursor.fetchone()
        if not isinstance(days, Decimal) or days != customers:
            self.wrong.append(f"net revenue by days {days}, by customers {customers}")

    def _whole(self, cursor: Any) -> None:
        state = self._shop.prints("marts")
        if state != self._shop.before and state != [p for p in self._shop.after if p.schema == "marts"]:
            self.wrong.append(f"neither the state before nor the one after: {state}")


@contextlib.contextmanager
def own_shop(server: EmbeddedPostgres, folder: Path) -> Iterator[Shop]:
    """A shop on a server that is started, and removed at the end."""
    server.start()
    try:
        shop = Shop(server, folder)
        try:
            yield shop
        finally:
            shop.close()
    finally:
        server.remove()
