"""What a day costs when its history is long, and what a full refresh costs beside its own statements.

    python tests/benchmarks/transform.py [--small 500000] [--big 10000000] [--lines-per-day 5000]
        [--customers 100000] [--products 5000] [--rounds 5] [--memory-orders 1000000] [--large-server]
        [--days-only] [--folder FOLDER] [--out docs/benchmarks/transform.md]

Two shops with the same customers and products and days of the same size, one with a short history, one
with a long one. The same next days are loaded into both, in turn, built with every model and every data
test, and published. Beside the seconds stand the rows that the server read for it, which no busy machine
changes. Then the short one is built again in full, and its models' own statements are run by hand.

A day is small enough for the short history to be longer than the longest window that is read again each day
(a quarter): what fills such a window is no cost of a long history.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from page import machine, spread, write

#: The first day after both histories.
NEXT = dt.date(2026, 2, 1)
LAYERS = ("staging", "warehouse", "marts")

#: The files of a day: entity → query. Everything follows from a hash of the row's number, so that a day is
#: the same in both shops. %(day)s the day, %(orders)s how many, %(first)s the number of its first order.
_ORDERS = """
    select
        'O' || n as order_id, 'C' || abs(hashint8(n)) %% %(customers)s as customer_id,
        %(day)s::date as order_date,
        (
            array['delivered', 'delivered', 'delivered', 'shipped', 'processing', 'cancelled']
        )[1 + abs(hashint8(n + 1)) %% 6] as order_status,
        (array['credit_card', 'paypal', 'bank_transfer'])[1 + abs(hashint8(n + 2)) %% 3] as payment_method,
        (array['standard', 'express'])[1 + abs(hashint8(n + 3)) %% 2] as shipping_method,
        4.99 as shipping_cost, 2.00 as tax_amount,
        -- two lines of 1 to 3 units at 5.00 to 104.00
        round(6.99 + (1 + n %% 3) * (5 + abs(hashint8(2 * n)) %% 100)
            + (1 + n %% 3) * (5 + abs(hashint8(2 * n + 1)) %% 100), 2) as total_amount,
        'USD' as currency, null as shipped_at, null as delivered_at,
        %(day)s || ' ' || lpad((n %% 24)::text, 2, '0') || ':00:00' as created_at,
        %(day)s || ' ' || lpad((n %% 24)::text, 2, '0') || ':00:00' as updated_at
    from generate_series(%(first)s::bigint, %(first)s + %(orders)s - 1) as n
"""
_ITEMS = """
    select
        'I' || l as order_item_id, 'O' || n as order_id,
        'P' || abs(hashint8(l + 4)) %% %(products)s as product_id,
        1 + n %% 3 as quantity, 5 + abs(hashint8(l)) %% 100 as unit_price,
        (1 + n %% 3) * (5 + abs(hashint8(l)) %% 100) as line_total, 0 as discount_amount,
        %(day)s || ' ' || lpad((n %% 24)::text, 2, '0') || ':00:00' as created_at
    from generate_series(%(first)s::bigint, %(first)s + %(orders)s - 1) as n
    cross join lateral (values (2 * n), (2 * n + 1)) as lines (l)
"""
_PAYMENTS = """
    select
        'PM' || n as payment_id, 'O' || n as order_id,
        %(day)s || ' ' || lpad((n %% 24)::text, 2, '0') || ':05:00' as paid_at, 'credit_card' as method,
        round(6.99 + (1 + n %% 3) * (5 + abs(hashint8(2 * n)) %% 100)
            + (1 + n %% 3) * (5 + abs(hashint8(2 * n + 1)) %% 100), 2) as amount,
        (array['captured', 'captured', 'captured', 'failed'])[1 + abs(hashint8(n + 5)) %% 4] as status
    from generate_series(%(first)s::bigint, %(first)s + %(orders)s - 1) as n
"""
_RETURNS = """
    select
        'R' || n as return_id, 'I' || 2 * n as order_item_id, %(day)s || ' 23:00:00' as returned_at,
        1 as quantity,
        (array['defective', 'changed_mind', 'wrong_item'])[1 + abs(hashint8(n + 6)) %% 3] as reason,
        5 as refund_amount
    from generate_series(%(first)s::bigint, %(first)s + %(orders)s - 1) as n
    where n %% 30 = 0
"""
_INVENTORY = """
    select
        'P' || n as product_id, %(day)s as snapshot_date, 100 + n %% 50 as on_hand, 5 as received,
        5 as sold
    from generate_series(0, %(products)s - 1) as n
"""
_EVENTS = """
    select
        'E' || %(day)s || '-' || s || '-' || e as event_id,
        case when s %% 3 > 0 then 'C' || abs(hashint8(%(first)s + s)) %% %(customers)s end as customer_id,
        'S' || %(day)s || '-' || s as session_id,
        (array['page_view', 'product_view', 'add_to_cart', 'checkout'])[e] as event_type,
        case when e in (2, 3) then 'P' || abs(hashint8(%(first)s + s)) %% %(products)s end as product_id,
        %(day)s || ' ' || lpad((s %% 24)::text, 2, '0') || ':0' || e || ':00' as event_timestamp,
        'Mozilla/5.0' as user_agent, '192.0.2.1' as ip_address, null as referrer,
        'https://shop.example/?utm_source=google&utm_medium=cpc' as page_url,
        (array['desktop', 'mobile'])[1 + s %% 2] as device_type, 'US' as country, 'Springfield' as city
    from generate_series(1, %(sessions)s) as s
    cross join generate_series(1, 1 + s %% 4) as e
"""
_SPEND = """
    select
        %(day)s as spend_date, channel, 'always on' as campaign, 1000 as impressions, 50 as clicks,
        25.00 as spend
    from unnest(array['paid_search', 'social', 'email']) as channel
"""
_CUSTOMERS = """
    select
        'C' || n as customer_id, 'Ada' as first_name, 'Moore' as last_name,
        'c' || n || '@example.com' as email, null as phone, null as address, 'Springfield' as city,
        'IL' as state, '62701' as zip_code, 'US' as country, '2020-01-01' as registration_date,
        'Consumer' as customer_segment, null as birth_date, null as gender,
        'email' as acquisition_channel, n %% 2 = 0 as marketing_opt_in,
        '2020-01-01 00:00:00' as updated_at
    from generate_series(0, %(customers)s - 1) as n
"""
_PRODUCTS = """
    select
        'P' || n as product_id, 'Thing ' || n as product_name, 'Category ' || n %% 20 as category,
        'Sub ' || n %% 100 as subcategory, 'Brand ' || n %% 50 as brand, 5 + n %% 100 as price,
        3 as cost, null as weight, null as dimensions, null as description,
        '2020-01-01' as created_date, true as is_active,
        '2020-01-01 00:00:00' as updated_at
    from generate_series(0, %(products)s - 1) as n
"""
DAILY = {
    "orders": _ORDERS,
    "order_items": _ITEMS,
    "payments": _PAYMENTS,
    "returns": _RETURNS,
    "inventory": _INVENTORY,
    "web_events": _EVENTS,
    "marketing_spend": _SPEND,
}
ONCE = {"customers": _CUSTOMERS, "products": _PRODUCTS}

#: What infrastructure/postgresql.conf says for a server that has 16 GB to itself.
LARGE_SERVER = {"shared_buffers": "4GB", "effective_cache_size": "12GB", "max_wal_size": "8GB"}


class Bench:
    """A server of this script's own, and shops in databases of it."""

    def __init__(
        self, folder: Path, *, lines_per_day: int, customers: int, products: int, is_large: bool = False
    ) -> None:
        from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port, reachable_folder

        self.folder, self.orders_per_day = folder, lines_per_day // 2
        self.customers, self.products, self.sessions_per_day = customers, products, lines_per_day // 14
        settings = tuple(LARGE_SERVER.items()) if is_large else ()
        self.server = EmbeddedPostgres(reachable_folder(folder / "server"), free_port(), settings=settings)
        self.server.start()

    def environment(self, shop: str) -> dict[str, str]:
        """Settings of a shop, as variables."""
        return {
            "ECOMMERCE_DW_HOME": str(self.folder / shop),
            "WAREHOUSE_PORT": str(self.server.port),
            "WAREHOUSE_DB": shop,
            "LANDING_ECOMMERCE": str(self.folder / shop / "landing"),
            "LANDING_ONLINE_RETAIL": str(self.folder / "nothing"),
            "LANDING_SALES": str(self.folder / "nothing"),
        }

    def steps(self, shop: str, *steps: str, run_id: str) -> dict[str, float]:
        """Run steps in a process of their own; seconds of each."""
        done = subprocess.run(
            [sys.executable, __file__, "--steps", *steps, "--run-id", run_id],
            env=os.environ | self.environment(shop), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{shop}: {' '.join(steps)} failed:\n{done.stdout}\n{done.stderr}")
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    def create(self, shop: str, days: int) -> None:
        """A shop with a history of so many days, loaded but not built."""
        self.server.execute(f"create database {shop}")
        self._write(shop, NEXT - dt.timedelta(days=days), ONCE)
        for number in range(days, 0, -1):
            self._write(shop, NEXT - dt.timedelta(days=number), DAILY)
        self.steps(shop, "migrate", "load", run_id="history")
        self._refuse_bad_rows(shop)

    def is_there(self, shop: str) -> bool:
        """Whether an earlier run left the shop."""
        with self.connection("postgres") as cursor:
            cursor.execute("select exists (select from pg_database where datname = %s)", (shop,))
            return bool(cursor.fetchone()[0])

    def next_day(self) -> dt.date:
        """The day after the newest one of any shop."""
        newest = max(path.name for path in self.folder.glob("*/landing/orders/dt=*"))
        return dt.date.fromisoformat(newest.removeprefix("dt=")) + dt.timedelta(days=1)

    def land(self, shop: str, day: dt.date) -> None:
        """One more day."""
        self._write(shop, day, DAILY)

    def _refuse_bad_rows(self, shop: str) -> None:
        """A shop without its customers, say, would measure something else."""
        with self.connection(shop) as cursor:
            cursor.execute("select path, reasons from raw.rejected_rows limit 1")
            for path, reasons in cursor:
                raise SystemExit(f"{shop}: the contracts have changed: {path}: {reasons}")

    def _write(self, shop: str, day: dt.date, queries: dict[str, str]) -> None:
        values = {
            "day": str(day),
            "orders": self.orders_per_day,
            # far apart, so that no two days share a number
            "first": (day - dt.date(2000, 1, 1)).days * 10_000_000,
            "customers": self.customers,
            "products": self.products,
            "sessions": self.sessions_per_day,
        }
        for entity, query in queries.items():
            file = self.folder / shop / "landing" / entity / f"dt={day}" / f"{entity}.csv"
            file.parent.mkdir(parents=True)
            with self.connection("postgres") as cursor, file.open("wb") as target:
                statement = cursor.mogrify(query, values).decode()
                cursor.copy_expert(f"copy ({statement}) to stdout (format csv, header)", target)

    @contextlib.contextmanager
    def connection(self, database: str) -> Iterator[Any]:
        """A cursor of the owner."""
        from ecommerce_dw import db
        from ecommerce_dw.settings import Settings

        settings = Settings(
            _env_file=None,
            ecommerce_dw_home=self.folder,
            warehouse_port=self.server.port,
            warehouse_db=database,
        )
        with contextlib.closing(db.connect("owner", settings=settings)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor

    def rows_read(self, shop: str) -> int:
        """Rows and index entries that the server has read in a shop's database so far."""
        with self.connection("postgres") as cursor:
            cursor.execute("select tup_returned from pg_stat_database where datname = %s", (shop,))
            return int(cursor.fetchone()[0])

    def node_seconds(self, shop: str, run_id: str) -> dict[str, float]:
        """What dbt's nodes of a run took, by kind, added up over the threads."""
        with self.connection(shop) as cursor:
            cursor.execute(
                "select resource_type, sum(execution_seconds) from ops.dbt_results "
                "where run_id = %s group by 1",
                (run_id,),
            )
            return {kind: float(seconds) for kind, seconds in cursor}

    def slowest(self, shop: str, run_id: str, count: int = 8) -> dict[str, float]:
        """Models of a run that took longest."""
        with self.connection(shop) as cursor:
            cursor.execute(
                "select node_id, execution_seconds from ops.dbt_results "
                "where run_id = %s and resource_type = 'model' order by 2 desc limit %s",
                (run_id, count),
            )
            return {node.split(".")[-1]: float(seconds) for node, seconds in cursor}


def run_steps(names: list[str], run_id: str) -> None:
    """Child process: the steps of a run, seconds of each as JSON."""
    from dbt.cli.main import dbtRunner

    from ecommerce_dw import pipeline
    from ecommerce_dw.migrations import migrate
    from ecommerce_dw.settings import get_settings
    from ecommerce_dw.transform import parse

    assert dbtRunner  # imported before anything is timed
    settings = get_settings()
    steps: dict[str, Callable[[], object]] = {
        "migrate": lambda: migrate(settings),
        "parse": lambda: parse(settings),
        "load": lambda: pipeline.load_step(run_id=run_id, business_date=None, settings=settings),
        "full": lambda: pipeline.load_step(
            run_id=run_id, business_date=None, is_full_refresh=True, settings=settings
        ),
        "publish": lambda: pipeline.publish_step(run_id=run_id, settings=settings),
    }
    for layer in LAYERS:
        steps[layer] = lambda layer=layer: pipeline.build_step(layer, run_id=run_id, settings=settings)
    seconds = {}
    for name in names:
        started = time.perf_counter()
        steps[name]()
        seconds[name] = time.perf_counter() - started
    print(json.dumps(seconds))


# the measurements -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Day:
    """What one day cost.

    Attributes:
        models, tests: Seconds of dbt's nodes, over the threads.
        publish: Seconds of the publication.
        wall: Seconds of the three builds and the publication, dbt's own start included.
        rows: Rows and index entries that the server read for it.
    """

    models: float
    tests: float
    publish: float
    wall: float
    rows: int

    @property
    def work(self) -> float:
        """Models, tests and publication together."""
        return self.models + self.tests + self.publish


def one_day(bench: Bench, shop: str, day: dt.date) -> Day:
    """Load a day (not timed here), build it, test it, publish it."""
    bench.land(shop, day)
    run_id = f"day_{day}"
    bench.steps(shop, "load", run_id=run_id)
    before = bench.rows_read(shop)
    seconds = bench.steps(shop, *LAYERS, "publish", run_id=run_id)
    nodes = bench.node_seconds(shop, run_id)
    return Day(
        models=nodes["model"],
        tests=nodes["test"],
        publish=seconds["publish"],
        wall=sum(seconds[name] for name in (*LAYERS, "publish")),
        rows=bench.rows_read(shop) - before,
    )


def by_hand(bench: Bench, shop: str, run_id: str) -> float:
    """Seconds of every built model's statements, one after the other: the table, its indexes, `analyze`."""
    runs = bench.folder / shop / "dbt" / "runs"
    files = sorted(runs.glob(f"{run_id}/*/compiled/ecommerce_dw/models/**/*.sql"))
    assert files, "dbt left no compiled statements"
    with bench.connection(shop) as cursor:
        cursor.execute(
            "select table_name from information_schema.tables where table_type = 'BASE TABLE' "
            "and table_schema in ('intermediate', 'warehouse', 'marts_build', 'ops')"
        )
        tables = {name for (name,) in cursor}
        cursor.execute(
            "select tablename, indexdef from pg_indexes "
            "where schemaname in ('intermediate', 'warehouse', 'marts_build')"
        )
        indexes = [(table, *definition.partition(" USING ")[::2]) for table, definition in cursor]
        cursor.execute(
            "set search_path to pg_temp, public; set enable_nestloop = off; set enable_mergejoin = off"
        )
        total = 0.0
        for file in files:
            if file.stem not in tables:
                continue
            started = time.perf_counter()
            cursor.execute(f"create temporary table by_hand as {file.read_text()}")
            for table, head, columns in indexes:
                if table == file.stem:
                    unique = "unique" if head.startswith("CREATE UNIQUE") else ""
                    cursor.execute(f"create {unique} index on by_hand using {columns}")
            cursor.execute("analyze by_hand")
            total += time.perf_counter() - started
            cursor.execute("drop table by_hand")
    return total


class Memory:
    """Greatest proportional memory of the server and of this process's children, sampled."""

    def __init__(self, bench: Bench) -> None:
        pid = int((bench.server.data_dir / "postmaster.pid").read_text().split()[0])
        self._roots = [psutil.Process(pid), psutil.Process()]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak = 0

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.25):
            total = 0
            for root in self._roots:
                for process in (root, *root.children(recursive=True)):
                    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                        total += process.memory_full_info().pss
            self.peak = max(self.peak, total)


def main() -> None:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--small", type=int, default=500_000, help="order lines of the short history")
    parser.add_argument("--big", type=int, default=10_000_000, help="order lines of the long history")
    parser.add_argument("--lines-per-day", type=int, default=5_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--products", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-orders", type=int, default=0, help="also build so many orders; 0: do not")
    parser.add_argument("--days-only", action="store_true", help="without the full refresh")
    parser.add_argument("--large-server", action="store_true", help="with the settings for 16 GB")
    parser.add_argument("--folder", type=Path, help="leave server and shops there, for the next run to go on")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--run-id", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps:
        run_steps(arguments.steps, arguments.run_id)
        return
    with server(arguments, arguments.folder, is_large=arguments.large_server) as bench:
        page = measure(bench, arguments)
    write(page, arguments.out)


@contextlib.contextmanager
def server(
    arguments: argparse.Namespace, kept: Path | None = None, *, is_large: bool = False
) -> Iterator[Bench]:
    """A server in a folder to keep, or in one that is removed at the end with it."""
    folder = kept or Path(tempfile.mkdtemp(prefix="transform-benchmark-"))
    bench = Bench(
        folder.absolute(),
        lines_per_day=arguments.lines_per_day,
        customers=arguments.customers,
        products=arguments.products,
        is_large=is_large,
    )
    try:
        yield bench
    finally:
        if kept:
            bench.server.stop()
        else:
            bench.server.remove()
            shutil.rmtree(folder)


def measure(bench: Bench, arguments: argparse.Namespace) -> str:
    """All measurements, as a page."""
    shops = {"small": arguments.small, "big": arguments.big}
    first_builds = {}
    for shop, lines in shops.items():
        if bench.is_there(shop):
            continue
        bench.create(shop, max(1, lines // arguments.lines_per_day))
        seconds = bench.steps(shop, "parse", *LAYERS, "publish", run_id="history")
        first_builds[shop] = sum(seconds[name] for name in LAYERS)
        print(f"{shop}: {lines:,} lines, first build {first_builds[shop]:.0f} s", flush=True)

    days: dict[str, list[Day]] = {shop: [] for shop in shops}
    slowest: dict[str, dict[str, float]] = {}
    first = bench.next_day()
    for number in range(arguments.rounds + 1):
        day = first + dt.timedelta(days=number)
        for shop in shops if number % 2 else reversed(shops):
            found = one_day(bench, shop, day)
            print(
                f"{day} {shop}: work {found.work:.2f} s, wall {found.wall:.2f} s, {found.rows:,} rows",
                flush=True,
            )
            if number:  # the first day warms both up
                days[shop].append(found)
        slowest = {shop: bench.slowest(shop, f"day_{day}", 400) for shop in shops}

    full_builds = [
        f"| first build of {shops[shop]:,} lines (s) | {seconds:.0f} |"
        for shop, seconds in first_builds.items()
    ]
    if not arguments.days_only:
        run_id = f"refresh_{day}"
        refresh = bench.steps("small", "full", *LAYERS, run_id=run_id)
        wall, nodes = sum(refresh[name] for name in LAYERS), bench.node_seconds("small", run_id)
        models, statements = wall - nodes["test"] / 2, by_hand(bench, "small", run_id)  # on two threads
        full_builds += [
            f"| full refresh of the short one with all tests (s) | {wall:.1f} |",
            f"| without what its tests take of that (s) | {models:.1f} |",
            f"| its own statements by hand, one after the other (s) | {statements:.1f} |",
            f"| full refresh against its statements, aim ≤ 1.3 | {models / statements:.2f} |",
        ]
    if arguments.memory_orders:
        with server(arguments) as other:
            other.create("memory", max(1, arguments.memory_orders // other.orders_per_day))
            with Memory(other) as memory:
                other.steps("memory", "parse", *LAYERS, "publish", run_id="history")
        full_builds.append(
            f"| peak memory (PSS) of server and client, {arguments.memory_orders:,} orders, aim < 2 GB | "
            f"{memory.peak / 1e9:.2f} GB |"
        )

    def median(shop: str, name: str) -> float:
        return statistics.median(getattr(day, name) for day in days[shop])

    pairs = list(zip(days["small"], days["big"], strict=True))
    ratios, rows = [b.work / s.work for s, b in pairs], [b.rows / s.rows for s, b in pairs]
    lines = [
        "# What a day costs behind a long history",
        "",
        "Written by `tests/benchmarks/transform.py`. Read ratios, not seconds.",
        "",
        machine(),
        "",
        f"{bench.customers:,} customers and {bench.products:,} products in both; a day has "
        f"{arguments.lines_per_day:,} order lines in {bench.orders_per_day:,} orders, "
        f"{bench.products:,} stock rows, {bench.sessions_per_day:,} sessions. "
        f"Medians of {arguments.rounds} days, the shops in turn. "
        f"The server's settings: {', '.join(map(' = '.join, bench.server.settings)) or 'as it comes'}.",
        "",
        "| a day | short history | long history | long / short |",
        "|---|---|---|---|",
        f"| order lines before it | {arguments.small:,} | {arguments.big:,} | |",
    ]
    for name, label in (
        ("models", "models (s, over threads)"),
        ("tests", "data tests (s, over threads)"),
        ("publish", "publication (s)"),
        ("work", "**models, tests and publication**"),
        ("wall", "wall time with dbt's own (s)"),
        ("rows", "rows the server read (M)"),
    ):
        unit = 1e6 if name == "rows" else 1
        small, big = median("small", name) / unit, median("big", name) / unit
        lines.append(f"| {label} | {small:.2f} | {big:.2f} | {big / small:.2f} |")
    lines += [
        "",
        f"Long against short, day by day: {spread(ratios, 2)}; rows read: {spread(rows, 3)}. "
        "Aim: at most 1.25.",
        "",
        "Models that cost most more behind the long history (last day, s):",
        "",
        "| model | short | long |",
        "|---|---|---|",
    ]
    more = sorted(slowest["big"], key=lambda m: slowest["small"].get(m, 0) - slowest["big"][m])[:10]
    lines += [
        f"| {model} | {slowest['small'].get(model, 0):.2f} | {slowest['big'][model]:.2f} |" for model in more
    ]
    lines += [
        "",
        "| full builds | |",
        "|---|---|",
        *full_builds,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
