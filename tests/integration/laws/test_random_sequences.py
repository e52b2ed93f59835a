"""Laws 3 and 5 on random lives of a tiny shop: files that come in any order, come again, are refused,
accepted, discarded and withdrawn, with runs anywhere between.

What happens to one path keeps its order; the paths are shuffled. After each sequence the incremental
warehouse must equal a full refresh, and the same files arriving in another order must end in the same state.
A failure names its seed; `RANDOM_SEED=<seed>` runs that sequence alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

import pytest

from ecommerce_dw import db
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.fingerprint import fingerprint
from ecommerce_dw.loading import ddl, load
from ecommerce_dw.loading.decisions import DecisionError, accept, discard, withdraw
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.publish import publish
from ecommerce_dw.settings import Settings
from tests.conftest import settings_for
from tests.support.dbt_warehouse import DbtWarehouse

SEEDS = [int(os.environ["RANDOM_SEED"])] if "RANDOM_SEED" in os.environ else list(range(1, 13))
LAYERS = "tag:layer_warehouse tag:layer_marts"
SCHEMAS = ("intermediate", "warehouse", "marts_build")
DAYS = [dt.date(2026, 1, 30) + dt.timedelta(days=n) for n in range(4)]  # over the end of a month
#: Few, so that versions of equal moments, and moments in other months and years, are common.
MOMENTS = ["2025-12-31 23:30:00", *(f"{day} {hour:02}:00:00" for day in DAYS for hour in (0, 12))]

HEADERS = {
    "customers": "customer_id,first_name,email,city,registration_date,customer_segment,updated_at",
    "products": "product_id,product_name,category,price,cost,created_date,is_active,updated_at",
    "orders": "order_id,customer_id,order_date,order_status,shipping_cost,tax_amount,total_amount,currency,"
    "created_at,updated_at",
    "order_items": "order_item_id,order_id,product_id,quantity,unit_price,line_total,discount_amount,"
    "created_at",
    "lines": "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
}


# ---- what may happen to files ----------------------------------------------------------------------------


def a_customer(rng: random.Random) -> str:
    key = rng.choice(["C1", "C2", "C3", "C|4"])
    segment = rng.choice(["Consumer", "Corporate", ""]) if rng.random() < 0.95 else "unheard of"
    city, moment = rng.choice(["Oslo", "Bergen"]), rng.choice(MOMENTS)
    return f"{key},Ada,{key[0]}@example.com,{city},2025-06-01,{segment},{moment}"


def a_product(rng: random.Random) -> str:
    key, category = rng.choice(["P1", "P2", "P3"]), rng.choice(["Home", "Garden", ""])
    cost = rng.choice(["3", "4.00", "4", ""])
    price = rng.choice(["10", "12.50"]) if rng.random() < 0.95 else "-1"
    return f"{key},Thing,{category},{price},{cost},2025-06-01,true,{rng.choice(MOMENTS)}"


def an_order(rng: random.Random) -> str:
    key, customer = f"O{rng.randint(1, 6)}", rng.choice(["C1", "C2", "C3", "C|4", ""])
    created, updated = rng.choice(MOMENTS), rng.choice(MOMENTS)
    status = rng.choice(["pending", "shipped", "cancelled"])
    currency = "USD" if rng.random() < 0.9 else "EUR"  # another currency than the shop's is rejected
    return f"{key},{customer},{created[:10]},{status},5,2,27,{currency},{created},{updated}"


def an_item(rng: random.Random) -> str:
    key, order = f"I{rng.randint(1, 9)}", f"O{rng.randint(1, 6)}"
    quantity = rng.randint(1, 3) if rng.random() < 0.85 else 0
    product = rng.choice(["P1", "P2", "P3"])
    return f"{key},{order},{product},{quantity},10,{10 * quantity},0,{rng.choice(MOMENTS)}"


def a_line(rng: random.Random) -> str:
    invoice = rng.choice(["536365", "536366", "C536379", "A563185"])
    sign = "-" if invoice[0] == "C" else ""
    quantity = f"{sign}{rng.randint(1, 2)}" if rng.random() < 0.9 else "many"
    code, name = rng.choice(["85123A", "71053", "POST"]), rng.choice(["LANTERN", "HOLDER", ""])
    moment, price = rng.choice(MOMENTS[:5]), rng.choice(["2.55", "2.550", "0", "-1"])
    customer, country = rng.choice(["17850.0", "13047", ""]), rng.choice(["France", "United Kingdom"])
    return f"{invoice},{code},{name},{quantity},{moment},{price},{customer},{country}"


ROWS: dict[str, Callable[[random.Random], str]] = {
    "customers": a_customer,
    "products": a_product,
    "orders": an_order,
    "order_items": an_item,
    "lines": a_line,
}


def a_file(rng: random.Random, entity: str) -> str:
    """A file's content; now and then empty, without rows, or with a header nobody knows."""
    chance = rng.random()
    if chance < 0.04:
        return ""
    if chance < 0.12:
        return "nonsense\n1\n"
    count = 0 if chance < 0.16 else rng.randint(1, 6)
    return "\n".join([HEADERS[entity], *(ROWS[entity](rng) for _ in range(count))]) + "\n"


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happens to a file: `land` (with content), `withdraw`, `discard` or `accept`."""

    source: str
    path: str
    action: str
    content: str = ""


def histories(rng: random.Random, files: int) -> list[list[Event]]:
    """What happens to each of some files, in order."""
    found = []
    names = [
        (source, entity, day, part)
        for source, entities in (
            ("ecommerce", ["customers", "products", "orders", "orders", "order_items", "order_items"]),
            ("online_retail", ["lines"]),
        )
        for entity in entities
        for day in DAYS
        for part in ("", "", ".fix-1")
    ]
    for source, entity, day, part in sorted(set(rng.sample(names, files))):
        path = f"{day}{part}.csv" if entity == "lines" else f"{entity}/dt={day}/{entity}{part}.csv"
        history = [Event(source, path, "land", a_file(rng, entity))]
        while rng.random() < 0.45:
            action = rng.choice(["land", "land", "withdraw", "accept", "discard"])
            content = a_file(rng, entity) if action == "land" else ""
            history.append(Event(source, path, action, content))
        found.append(history)
    return found


def shuffled(rng: random.Random, files: Sequence[Sequence[Event]]) -> list[Event]:
    """One arrival order: files are shuffled, what happens to one of them keeps its order."""
    turns = [number for number, history in enumerate(files) for _ in history]
    rng.shuffle(turns)
    waiting = [iter(history) for history in files]
    return [next(waiting[number]) for number in turns]


# ---- a warehouse to which it happens ---------------------------------------------------------------------


class Life:
    """One warehouse, from nothing to the end of a sequence."""

    def __init__(self, warehouse: DbtWarehouse, contracts: Mapping[str, Mapping[str, Contract]]) -> None:
        self.warehouse = warehouse
        self.settings: Settings = warehouse.settings
        self.contracts = contracts
        self.pending: set[tuple[str, str]] = set()
        self.log: list[str] = []
        for name in ("landing", "journal"):
            shutil.rmtree(self.settings.home / name, ignore_errors=True)
        warehouse.reset()
        warehouse.close()

    def happen(self, event: Event) -> None:
        """Let one event happen; what lies there before is loaded first, so that each version is seen."""
        self.log.append(f"{event.action} {event.source} {event.path}\n{event.content}")
        if (event.source, event.path) in self.pending:
            load(self.settings, source=event.source, paths=[event.path], contracts=self.contracts)
            self.pending.discard((event.source, event.path))
        if event.action == "land":
            file = self.settings.landing(event.source) / event.path
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = file.with_name("_" + file.name)
            temporary.write_text(event.content)
            temporary.rename(file)
            self.pending.add((event.source, event.path))
            return
        # what cannot be decided of a file in its state is no event
        with contextlib.suppress(DecisionError):
            if event.action == "withdraw":
                withdraw(self.settings, event.path, source=event.source, contracts=self.contracts)
            elif event.action == "accept":
                accept(self.settings, event.path, source=event.source, contracts=self.contracts)
            else:
                discard(self.settings, event.path, source=event.source)

    def load(self, *, source: str | None = None, business_date: dt.date | None = None) -> None:
        """Load what lies there."""
        self.log.append(f"load {source or ''} {business_date or ''}")
        summary = load(self.settings, source=source, business_date=business_date, contracts=self.contracts)
        assert summary.files_failed == 0, summary.outcomes
        if source is None and business_date is None:
            self.pending.clear()

    def build(self, select: str = LAYERS) -> None:
        """Freeze and build."""
        self.log.append(f"build {select}")
        self.warehouse.run(select=select)

    def publish(self) -> None:
        """Publish; what is published is what was built."""
        self.log.append("publish")
        publish(self.settings)
        assert self.prints("marts") == self.prints("marts_build")

    def prints(self, *schemas: str, settings: Settings | None = None) -> dict[str, tuple[int, str]]:
        """Rows and checksum of each table."""
        return {
            (entry.table if len(schemas) == 1 else f"{entry.schema}.{entry.table}"): (
                entry.rows,
                entry.checksum,
            )
            for entry in fingerprint(settings or self.settings, schemas)
        }

    def state(self) -> dict[str, object]:
        """Everything that must not depend on how it came about."""
        flags = self.warehouse.query("select * from ops.flagged_rows order by 1, 2, 3")
        return {**self.prints(*SCHEMAS), "flagged_rows": flags}

    def full_refresh(self) -> dict[str, object]:
        """The state that a full refresh of the same raw rows gives."""
        copy = self.warehouse.full
        self.warehouse._copy(self.settings.warehouse_db, copy.settings.warehouse_db)
        self.warehouse.build(full_refresh=True, select=LAYERS, database=copy)
        prints = self.prints(*SCHEMAS, settings=copy.settings)
        connection = db.connect("owner", settings=copy.settings)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("select * from ops.flagged_rows order by 1, 2, 3")
            return {**prints, "flagged_rows": cursor.fetchall()}

    def finish(self) -> None:
        """A last run over everything."""
        self.load()
        self.build()
        self.publish()


@pytest.fixture(scope="module")
def warehouse(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DbtWarehouse]:
    """The project parsed and the template made."""
    folder = tmp_path_factory.mktemp("random")
    made = DbtWarehouse(
        postgres,
        settings_for(postgres, "random_lives", folder),
        settings_for(postgres, "random_lives_full", folder),
        folder,
    )
    # the raw tables as the loader makes them
    postgres.execute(f"create database random_lives_raw template {template_database} strategy file_copy")
    raw = settings_for(postgres, "random_lives_raw", folder)
    all_contracts = [c for entities in read_contracts(raw.contracts_dir).values() for c in entities.values()]
    with contextlib.closing(db.connect("loader", settings=raw)) as connection:
        ddl.ensure_tables(connection, all_contracts)
        ddl.ensure_indexes(connection, all_contracts)
    made.prepare("random_lives_raw")
    yield made
    made.close()


@pytest.fixture(scope="module")
def contracts(warehouse: DbtWarehouse) -> dict[str, dict[str, Contract]]:
    """The shops' contracts, with a threshold that small files can stay under."""
    return {
        source: {
            name: dataclasses.replace(contract, max_rejected_rows=3, max_rejected_share=Decimal("0.5"))
            for name, contract in entities.items()
        }
        for source, entities in read_contracts(warehouse.settings.contracts_dir).items()
    }


def live(rng: random.Random, life: Life, events: Sequence[Event], runs_between: int) -> None:
    """Let a sequence happen, with runs of every kind between."""
    stops = set(rng.sample(range(len(events)), min(runs_between, len(events))))
    for number, event in enumerate(events):
        life.happen(event)
        if number not in stops:
            continue
        kind = rng.random()
        if kind < 0.2:
            life.load(source=rng.choice(["ecommerce", "online_retail"]))
        elif kind < 0.5:
            life.load(business_date=rng.choice(DAYS))
        else:
            life.load()
        if rng.random() < 0.25:
            life.build("tag:layer_warehouse")  # a run that stops at the warehouse's checkpoint
            continue
        life.build()
        if rng.random() < 0.6:
            life.publish()
    life.finish()


def differences(left: Mapping[str, object], right: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    return {
        name: (left.get(name), right.get(name)) for name in left | right if left.get(name) != right.get(name)
    }


def check(
    seed: int,
    warehouse: DbtWarehouse,
    contracts: Mapping[str, Mapping[str, Contract]],
    files: int,
    stops: int,
) -> None:
    rng = random.Random(seed)
    files_and_events = histories(rng, files)
    life = Life(warehouse, contracts)
    live(rng, life, shuffled(rng, files_and_events), stops)
    state = life.state()
    again = f"RANDOM_SEED={seed} repeats it"
    assert not (found := differences(state, life.full_refresh())), (
        f"seed {seed}: incremental (left) is not what a full refresh gives (right): {found}; {again}\n"
        + "\n".join(life.log)
    )
    other = Life(warehouse, contracts)
    live(rng, other, shuffled(rng, files_and_events), stops - 1)
    assert not (found := differences(state, other.state())), (
        f"seed {seed}: another order of arrival ends elsewhere: {found}; {again}\n--- first\n"
        + "\n".join(life.log)
        + "\n--- second\n"
        + "\n".join(other.log)
    )


def test_a_short_sequence(warehouse: DbtWarehouse, contracts: dict[str, dict[str, Contract]]) -> None:
    check(20260130, warehouse, contracts, files=10, stops=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_sequence(
    warehouse: DbtWarehouse, contracts: dict[str, dict[str, Contract]], seed: int
) -> None:
    check(seed, warehouse, contracts, files=32, stops=4)
