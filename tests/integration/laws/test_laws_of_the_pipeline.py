"""Laws 2, 3, 4, 6 and 7 on the whole pipeline: the real loader, dbt and publication, on a small shop.

Each test compares the fingerprint of every warehouse and mart table with that of one plain run over the same
files.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ecommerce_dw import db, pipeline
from ecommerce_dw.fingerprint import TableFingerprint, fingerprint
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.settings import PROJECT_DIR, Settings
from shop_simulator import ENTITIES, generate
from tests.conftest import settings_for

FIRST = dt.date(2026, 1, 28)
DAYS = [FIRST + dt.timedelta(days=n) for n in range(6)]  # over the end of a month
LAYERS = ("staging", "warehouse", "marts")


class Warehouse:
    """A warehouse of its own, with a landing zone of its own, and the steps of a run."""

    def __init__(self, settings: Settings, days: Path) -> None:
        self.settings = settings
        self.days = days
        self.runs = 0

    def land(self, day: dt.date, *entities: str) -> None:
        for entity in entities or ENTITIES:
            name = f"{entity}/dt={day}/{entity}.csv"
            target = self.settings.landing("ecommerce") / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.days / name, target)

    def load(self, business_date: dt.date | None = None) -> str:
        self.runs += 1
        run_id = f"run-{self.runs}"
        pipeline.load_step(run_id=run_id, business_date=business_date, settings=self.settings)
        return run_id

    def run(self, business_date: dt.date | None = None, layers: Sequence[str] = LAYERS) -> None:
        """Load, build, publish."""
        run_id = self.load(business_date)
        for layer in layers:
            pipeline.build_step(layer, run_id=run_id, settings=self.settings)
        pipeline.publish_step(run_id=run_id, settings=self.settings)

    def fingerprint(self) -> list[TableFingerprint]:
        return fingerprint(self.settings)

    def execute(self, statement: str) -> None:
        connection = db.connect("owner", settings=self.settings)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six days of a small shop, not landed yet."""
    folder = tmp_path_factory.mktemp("days")
    generate(folder, first=DAYS[0], last=DAYS[-1], scale=2.0)
    return folder


@pytest.fixture(scope="module")
def make_warehouse(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory, days: Path
) -> Iterator[Callable[[], Warehouse]]:
    """Makes an empty warehouse; all have one database name, which dbt writes into what it parses."""
    parsed = tmp_path_factory.mktemp("parsed")

    def make() -> Warehouse:
        postgres.execute("drop database if exists laws with (force)")
        postgres.execute(f"create database laws template {template_database} strategy file_copy")
        home = tmp_path_factory.mktemp("home")
        (home / "dbt").mkdir()
        if (parsed / "target").exists():
            shutil.copytree(parsed / "target", home / "dbt" / "target")
        settings = settings_for(postgres, "laws", home)
        if not (parsed / "target").exists():
            from ecommerce_dw.transform import parse

            shutil.copytree(parse(settings), parsed / "target")
        return Warehouse(settings, days)

    yield make
    postgres.execute("drop database if exists laws with (force)")


@pytest.fixture(scope="module")
def plain(make_warehouse: Callable[[], Warehouse]) -> list[TableFingerprint]:
    """The fingerprint of one plain run over all days."""
    warehouse = make_warehouse()
    for day in DAYS:
        warehouse.land(day)
    warehouse.run()
    prints = warehouse.fingerprint()
    assert len(prints) >= 11
    assert {p.table: p.rows for p in prints if p.schema == "marts"}["customer_summary"] > 20
    return prints


@pytest.mark.slow
def test_days_in_any_order_end_in_the_same_warehouse(
    make_warehouse: Callable[[], Warehouse], plain: list[TableFingerprint]
) -> None:
    """Law 3, and law 5 on the way: a late day, items before their orders, customers last."""
    warehouse = make_warehouse()
    warehouse.land(DAYS[4])
    warehouse.land(DAYS[1], "order_items", "products")
    warehouse.run()
    for day in (DAYS[5], DAYS[0], DAYS[2]):
        warehouse.land(day, "orders", "order_items", "products")
    warehouse.run()
    warehouse.land(DAYS[1], "orders", "customers")
    warehouse.land(DAYS[3])
    for day in (DAYS[2], DAYS[5], DAYS[0]):
        warehouse.land(day, "customers")
    for day in DAYS:
        warehouse.land(day)  # all that has not come yet: payments, returns, visits …
    warehouse.run()
    assert warehouse.fingerprint() == plain


@pytest.mark.slow
def test_day_by_day_ends_as_all_at_once_and_again_changes_nothing(
    make_warehouse: Callable[[], Warehouse], plain: list[TableFingerprint]
) -> None:
    """Laws 2 and 5."""
    warehouse = make_warehouse()
    for day in DAYS:
        warehouse.land(day)
    for day in (DAYS[2], DAYS[4], DAYS[5], DAYS[5], DAYS[3]):
        warehouse.run(day)
    assert warehouse.fingerprint() == plain


@pytest.mark.slow
def test_building_again_from_raw_gives_the_same(
    make_warehouse: Callable[[], Warehouse], plain: list[TableFingerprint]
) -> None:
    """Law 4: everything dbt built is dropped, and what was published with it."""
    warehouse = make_warehouse()
    for day in DAYS[:3]:
        warehouse.land(day)
    warehouse.run()
    for day in DAYS[3:]:
        warehouse.land(day)
    warehouse.load()
    for schema in ("staging", "intermediate", "warehouse", "warehouse_parts", "marts_build", "marts"):
        warehouse.execute(f"drop schema {schema} cascade")
    migrate(warehouse.settings)
    warehouse.run()
    assert warehouse.fingerprint() == plain


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 1.2, 2.5])
def test_a_killed_build_heals_by_a_plain_rerun(
    make_warehouse: Callable[[], Warehouse], plain: list[TableFingerprint], seconds: float
) -> None:
    """Law 7: `kill -9` of the process that builds, somewhere in the middle."""
    warehouse = make_warehouse()
    for day in DAYS[:4]:
        warehouse.land(day)
    warehouse.run()
    for day in DAYS[4:]:
        warehouse.land(day)
    warehouse.load()
    environment = os.environ | warehouse.settings.environment()
    process = subprocess.Popen(
        [sys.executable, "-c", "from ecommerce_dw.cli import main; main()", "build"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not _is_building(warehouse) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    time.sleep(seconds)
    assert process.poll() is None, "the build ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    warehouse.run()
    assert warehouse.fingerprint() == plain


def _is_building(warehouse: Warehouse) -> bool:
    connection = db.connect("owner", settings=warehouse.settings)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from pg_stat_activity where application_name like '%dbt' "
            "and datname = current_database() and query ilike '%create temporary table%'"
        )
        row = cursor.fetchone()
    connection.close()
    return bool(row and row[0])


def test_no_model_or_macro_reads_the_clock() -> None:
    """Law 6. Technical stamps of `ops` are defaults of its tables, not of models."""
    clock = re.compile(
        r"\b(current_date|current_time|current_timestamp|localtime|localtimestamp|now\s*\(|timeofday|"
        r"statement_timestamp|transaction_timestamp|clock_timestamp|run_started_at|modules\.datetime)",
        re.IGNORECASE,
    )
    offences = []
    for folder in ("models", "macros", "tests", "seeds"):
        for path in sorted((PROJECT_DIR / "dbt" / folder).rglob("*.sql")):
            text = re.sub(r"\{#.*?#\}", "", path.read_text(), flags=re.DOTALL)
            text = re.sub(r"--.*", "", text)
            for number, line in enumerate(text.splitlines(), 1):
                if clock.search(line) and "moved_at" not in line:
                    offences.append(f"{path.relative_to(PROJECT_DIR)}:{number}: {line.strip()}")
    assert offences == []
