"""How fast the loader is, against a bare COPY into the same typed tables in the same run.

    python tests/benchmarks/load.py [--rows-scale 0.1] [--rounds 3] [--out docs/benchmarks/load.md]

Three files (1 M orders, 2 M order lines, 2 M web events of 13 columns), each loaded in turn by a bare COPY
and by `ecommerce_dw.loading.load` with line numbers, file id, digest, ledger and every rule of its contract;
then the same with 1 % bad rows; then many small day files. Each measurement is a process of its own on a
server of this script's own; figures are medians over alternating rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
from page import machine, spread, write

DATE = "2026-01-31"
SMALL_FILES, SMALL_ROWS = 1000, 100


# the files ------------------------------------------------------------------------------------------------


def orders(count: int, bad: float, rng: random.Random) -> Iterator[str]:
    """Order rows as the shop delivers them."""
    yield (
        "order_id,customer_id,order_date,order_status,payment_method,shipping_method,shipping_cost,"
        "tax_amount,total_amount,currency,created_at,updated_at"
    )
    statuses = ("pending", "paid", "shipped", "delivered", "cancelled")
    payments = ("credit_card", "paypal", "bank_transfer", "gift_card")
    for number in range(count):
        day = f"2026-01-{number % 31 + 1:02d}"
        at = f"{day} {number % 24:02d}:{number % 60:02d}:{number % 59:02d}"
        status, total, currency = statuses[number % 5], f"{number % 50000 / 100 + 5:.2f}", "USD"
        if bad and rng.random() < bad:
            kind = rng.randrange(4)
            if kind == 0:
                status = "lost"
            elif kind == 1:
                total = "n/a"
            elif kind == 2:
                currency = "EUR"
            else:
                total = "12.34,56"  # one field too many
        yield (
            f"ORD-{number:09d},CUST-{number * 7919 % 200000:07d},{day},{status},{payments[number % 4]},"
            f"standard,4.99,{number % 900 / 100:.2f},{total},{currency},{at},{at}"
        )


def order_lines(count: int, bad: float, rng: random.Random) -> Iterator[str]:
    """Order line rows as the shop delivers them."""
    yield "order_item_id,order_id,product_id,quantity,unit_price,line_total,discount_amount,created_at"
    for number in range(count):
        quantity, price = str(number % 5 + 1), f"{number % 9900 / 100 + 1:.2f}"
        total = f"{(number % 5 + 1) * (number % 9900 + 100) / 100:.2f}"
        if bad and rng.random() < bad:
            kind = rng.randrange(3)
            if kind == 0:
                quantity = "-3"
            elif kind == 1:
                price = "1.23456"
            else:
                quantity = "two"
        yield (
            f"{number + 1},ORD-{number // 2:09d},P-{number * 31 % 5000:05d},{quantity},{price},{total},0.00,"
            f"2026-01-{number % 31 + 1:02d} {number % 24:02d}:{number % 60:02d}:00"
        )


def events(count: int, bad: float, rng: random.Random) -> Iterator[str]:
    """Web event rows: long texts, quoted user agents with separators in them."""
    yield (
        "event_id,session_id,visitor_id,customer_id,event_type,occurred_at,page_url,referrer_url,user_agent,"
        "device_type,country,product_id,load_time_ms"
    )
    agents = (
        '"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0"',
        '"Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"',
        "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
    )
    kinds = ("page_view", "product_view", "add_to_cart", "checkout", "purchase")
    devices, countries = ("desktop", "mobile", "tablet"), ("US", "GB", "DE", "FR", "CA")
    for number in range(count):
        kind, millis = kinds[number % 5], str(number % 4000)
        at = f"2026-01-{number % 31 + 1:02d} {number % 24:02d}:{number % 60:02d}:{number % 59:02d}"
        if bad and rng.random() < bad:
            which = rng.randrange(3)
            if which == 0:
                kind = "teleport"
            elif which == 1:
                millis = "fast"
            else:
                at = "2026-13-41 00:00:00"
        yield (
            f"{number * 2654435761 % 2**32:08x}-{number:012x},s-{number // 8:010d},v-{number // 20:010d},"
            f"{'' if number % 3 else f'CUST-{number % 200000:07d}'},{kind},{at},"
            f"https://shop.example/catalogue/category-{number % 40}/product-{number % 5000}"
            f"?page={number % 9},"
            f"https://search.example/?q=product+{number % 5000},{agents[number % 3]},{devices[number % 3]},"
            f"{countries[number % 5]},P-{number % 5000:05d},{millis}"
        )


FILES = {
    "orders": (1_000_000, orders),
    "order_lines": (2_000_000, order_lines),
    "events": (2_000_000, events),
}


def contracts() -> dict[str, dict[str, Any]]:
    """Contracts with every kind of rule for the three files."""
    from ecommerce_dw.contracts.model import Column, Contract, FileLayout

    def column(name: str, type_: Any = "text", **rules: Any) -> Column:
        base: dict[str, Any] = dict.fromkeys(
            ("minimum", "maximum", "scale", "max_length", "pattern", "references"), None
        )
        base |= {"header": name, "is_required": False, "is_unique": False, "allowed_values": ()}
        base |= {"pii": "none", "description": ""}
        return Column(name=name, type=type_, **(base | rules))

    def money(name: str, **rules: Any) -> Column:
        return column(name, "numeric", is_required=True, minimum=Decimal(0), scale=4, **rules)

    def contract(entity: str, key: str, touch_keys: tuple[str, ...], *columns: Column) -> Contract:
        return Contract(
            source="benchmark",
            entity=entity,
            version="1.0.0",
            hash="1",
            description=entity,
            columns=columns,
            primary_key=(key,),
            touch_keys=touch_keys,
            ordering_column=None,
            layout=FileLayout(f"{entity}/dt={{date}}/{entity}{{part}}.csv", ",", '"', "utf-8"),
            time_zone="UTC",
            currency="USD",
            currency_column="currency" if entity == "orders" else None,
            max_staleness_days=None,
            max_rejected_rows=100,
            max_rejected_share=Decimal("0.05"),
            refusal_severity="critical",
            extra_columns="ignore",
            feeds=(),
        )

    required = {"is_required": True}
    found = [
        contract(
            "orders",
            "order_id",
            ("order_id", "customer_id"),
            column("order_id", **required, max_length=64),
            column("customer_id", max_length=64),
            column("order_date", "date", **required),
            column(
                "order_status",
                **required,
                allowed_values=("pending", "paid", "shipped", "delivered", "cancelled"),
            ),
            column("payment_method", allowed_values=("credit_card", "paypal", "bank_transfer", "gift_card")),
            column("shipping_method", allowed_values=("standard", "express", "overnight", "pickup")),
            money("shipping_cost"),
            money("tax_amount"),
            money("total_amount"),
            column("currency", **required),
            column("created_at", "timestamptz", **required),
            column("updated_at", "timestamptz", **required),
        ),
        contract(
            "order_lines",
            "order_item_id",
            ("order_item_id", "order_id", "product_id"),
            column("order_item_id", "bigint", **required, minimum=Decimal(1)),
            column("order_id", **required, max_length=64),
            column("product_id", **required, max_length=64),
            column("quantity", "integer", **required, minimum=Decimal(1), maximum=Decimal(10000)),
            money("unit_price"),
            money("line_total"),
            money("discount_amount"),
            column("created_at", "timestamptz", **required),
        ),
        contract(
            "events",
            "event_id",
            ("event_id", "customer_id"),
            column("event_id", **required, max_length=64),
            column("session_id", **required, max_length=64),
            column("visitor_id", **required, max_length=64),
            column("customer_id", max_length=64),
            column(
                "event_type",
                **required,
                allowed_values=("page_view", "product_view", "add_to_cart", "checkout", "purchase"),
            ),
            column("occurred_at", "timestamptz", **required),
            column("page_url", **required, max_length=2000),
            column("referrer_url", max_length=2000),
            column("user_agent", max_length=1000),
            column("device_type", allowed_values=("desktop", "mobile", "tablet")),
            column("country", max_length=2),
            column("product_id", max_length=64),
            column("load_time_ms", "integer", minimum=Decimal(0)),
        ),
    ]
    return {"benchmark": {item.entity: item for item in found}}


def write_file(path: Path, lines: Iterator[str]) -> None:
    """Write lines, a few thousand at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(line + "\n" for line in lines)


# one measurement, in a process of its own -----------------------------------------------------------------


def bare_copy(settings: Any, entity: str, file: Path) -> dict[str, float]:
    """COPY as psql would: a plain typed table, the file as it is."""
    from ecommerce_dw import db

    contract = contracts()["benchmark"][entity]
    connection = db.connect("loader", settings=settings)
    with connection, connection.cursor() as cursor:
        columns = ", ".join(f"{column.name} {column.type}" for column in contract.columns)
        cursor.execute(f"create table raw.bare ({columns})")
    started = time.perf_counter()
    with connection, connection.cursor() as cursor, file.open("rb") as data:
        cursor.copy_expert("copy raw.bare from stdin (format csv, header)", data, 1 << 20)
    return {"seconds": time.perf_counter() - started, "index_seconds": 0.0}


def measure(arguments: argparse.Namespace) -> None:
    """Child process: run one measurement and print it as JSON."""
    from ecommerce_dw.loading import load
    from ecommerce_dw.settings import Settings

    settings = Settings(
        _env_file=None,
        ecommerce_dw_home=arguments.home,
        warehouse_port=arguments.port,
        warehouse_db=arguments.database,
    )
    landing = settings.landing("benchmark")
    cpu_before = time.process_time()
    if arguments.measure == "bare":
        found: dict[str, Any] = bare_copy(settings, arguments.entity, next(landing.rglob("*.csv")))
    else:
        entities = contracts()["benchmark"]
        chosen = {"benchmark": {arguments.entity: entities[arguments.entity]}}
        started = time.perf_counter()
        summary = load(settings, contracts=chosen, workers=arguments.workers)
        found = {
            "seconds": time.perf_counter() - started,
            "index_seconds": summary.index_seconds,
            "files": summary.files_loaded,
            "rows_loaded": summary.rows_loaded,
            "rows_rejected": summary.rows_rejected,
            "refused": summary.files_refused + summary.files_failed,
        }
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["cpu_seconds"] = time.process_time() - cpu_before
    print(json.dumps(found))


class Bench:
    """A server and landing zones of this script's own."""

    def __init__(self, folder: Path, scale: float, rounds: int) -> None:
        from ecommerce_dw.migrations import migrate
        from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port, reachable_folder
        from ecommerce_dw.settings import Settings

        self.folder, self.scale, self.rounds = folder, scale, rounds
        self.server = EmbeddedPostgres(reachable_folder(folder / "server"), free_port())
        self.server.start()
        self.server.execute("create database ecommerce_dw_template")
        migrate(
            Settings(
                _env_file=None,
                ecommerce_dw_home=folder,
                warehouse_port=self.server.port,
                warehouse_db="ecommerce_dw_template",
            )
        )

    def home(self, name: str) -> Path:
        """Home folder of a kind of files, with its landing zone."""
        return self.folder / name

    def prepare(self, name: str, entity: str, bad: float) -> int:
        """Write a file; its size."""
        count, make = FILES[entity]
        file = self.home(name) / "landing" / "benchmark" / entity / f"dt={DATE}" / f"{entity}.csv"
        write_file(file, make(int(count * self.scale), bad, random.Random(1)))
        return file.stat().st_size

    def run(self, what: str, name: str, entity: str, workers: int = 1) -> dict[str, float]:
        """One measurement in an empty database."""
        self.server.execute("drop database if exists bench with (force)")
        self.server.execute("create database bench template ecommerce_dw_template")
        self.server.execute("checkpoint")
        command = [sys.executable, __file__, "--measure", what, "--entity", entity, "--home"]
        command += [str(self.home(name)), "--port", str(self.server.port), "--database", "bench"]
        command += ["--workers", str(workers)]
        before = self._server_cpu()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        found["cpu_seconds"] += self._server_cpu() - before
        return found

    def _server_cpu(self) -> float:
        """Processor time of the server's processes so far, ended ones included."""
        postmaster = psutil.Process(int((self.server.data_dir / "postmaster.pid").read_text().split()[0]))
        times = postmaster.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in postmaster.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(child.cpu_times()[:2])
        return float(total)


@dataclasses.dataclass(frozen=True)
class Row:
    """Medians for one file, and the ratio of loaded to bare in each round."""

    entity: str
    mib: float
    bare: float
    loaded: float
    bad: float
    index: float
    peak_mib: float
    cpu_bare: float
    cpu_loaded: float
    cpu_bad: float
    ratios: tuple[float, ...]


def compare(bench: Bench, entity: str) -> Row:
    """Alternate bare COPY, load and load with bad rows."""
    size = bench.prepare(f"good_{entity}", entity, 0.0)
    bench.prepare(f"bad_{entity}", entity, 0.01)
    found: dict[str, list[dict[str, float]]] = {"bare": [], "good": [], "bad": []}
    for number in range(bench.rounds):
        found["bare"].append(bench.run("bare", f"good_{entity}", entity))
        found["good"].append(bench.run("load", f"good_{entity}", entity))
        found["bad"].append(bench.run("load", f"bad_{entity}", entity))
        print(
            f"{entity} round {number + 1}: " + ", ".join(f"{k} {_net(v[-1]):.2f}" for k, v in found.items())
        )
    count = int(FILES[entity][0] * bench.scale)
    assert all(run["rows_loaded"] == count for run in found["good"])
    assert all(run["refused"] == 0 and run["rows_rejected"] > 0 for run in found["bad"]), found["bad"]
    shutil.rmtree(bench.home(f"good_{entity}"))
    shutil.rmtree(bench.home(f"bad_{entity}"))
    return Row(
        entity=entity,
        mib=size / 2**20,
        bare=statistics.median(run["seconds"] for run in found["bare"]),
        loaded=statistics.median(_net(run) for run in found["good"]),
        bad=statistics.median(_net(run) for run in found["bad"]),
        index=statistics.median(run["index_seconds"] for run in found["good"]),
        peak_mib=max(run["peak_mib"] for kind in ("good", "bad") for run in found[kind]),
        cpu_bare=statistics.median(run["cpu_seconds"] for run in found["bare"]),
        cpu_loaded=statistics.median(run["cpu_seconds"] for run in found["good"]),
        cpu_bad=statistics.median(run["cpu_seconds"] for run in found["bad"]),
        ratios=tuple(
            _net(good) / bare["seconds"] for good, bare in zip(found["good"], found["bare"], strict=True)
        ),
    )


def _net(run: dict[str, float]) -> float:
    return run["seconds"] - run["index_seconds"]


def small_files(bench: Bench, workers: int) -> tuple[float, float]:
    """Day files of 100 rows each: files per second, and peak memory."""
    landing = bench.home("small") / "landing" / "benchmark" / "order_lines"
    if not landing.exists():
        for number in range(SMALL_FILES):
            day = dt.date(2026, 1, 31) - dt.timedelta(days=number)
            write_file(
                landing / f"dt={day}" / "order_lines.csv", order_lines(SMALL_ROWS, 0.0, random.Random(1))
            )
    runs = [bench.run("load", "small", "order_lines", workers) for _ in range(bench.rounds)]
    assert all(run["files"] == SMALL_FILES for run in runs)
    return SMALL_FILES / statistics.median(run["seconds"] for run in runs), max(r["peak_mib"] for r in runs)


def report(rows: list[Row], small: tuple[float, float], bench: Bench) -> str:
    """The page for docs/benchmarks."""
    bare, loaded, bad = (sum(getattr(row, name) for row in rows) for name in ("bare", "loaded", "bad"))
    lines = [
        "# How fast loading is",
        "",
        "Written by `tests/benchmarks/load.py`. Read ratios, not seconds.",
        "",
        f"{machine()} Rows times {bench.scale:g}, medians of {bench.rounds} alternating rounds, each in a "
        "process and an empty database of its own.",
        "",
        "Bare = `COPY` of the file into a table of the same typed columns and nothing else. Loaded = "
        "`ecommerce-dw load` from start to end without the building of indexes: discovery, SHA-256, header "
        "check, line number and file id in every row, all rules of the contract, rejected rows with every "
        "reason, ledger. That a key stands once in a file is proven by the unique index, so it is part of "
        "the building of indexes.",
        "",
        "| file | MiB | bare COPY (s) | loaded (s) | ratio | with 1 % bad rows (s) | against good | "
        "indexes (s) | client peak (MiB) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.entity} | {row.mib:.0f} | {row.bare:.2f} | {row.loaded:.2f} | "
            f"{row.loaded / row.bare:.2f} | {row.bad:.2f} | {row.bad / row.loaded:.2f} | {row.index:.2f} | "
            f"{row.peak_mib:.0f} |"
        )
    peak = max([row.peak_mib for row in rows] + [small[1]])
    lines += [
        f"| **sum** | {sum(r.mib for r in rows):.0f} | {bare:.2f} | {loaded:.2f} | **{loaded / bare:.2f}** | "
        f"{bad:.2f} | **{bad / loaded:.2f}** | {sum(r.index for r in rows):.2f} | **{peak:.0f}** |",
        "",
        "Ratios of the rounds one by one, their median and where they lie: "
        + ", ".join(f"{row.entity} {spread(row.ratios, 2)}" for row in rows)
        + ".",
        "",
        "| aim | limit | measured |",
        "|---|---|---|",
        f"| sum of the three against bare COPY | ≤ 1.6 | {loaded / bare:.2f} |",
        f"| the same with 1 % bad rows, against good rows | ≤ 1.3 | {bad / loaded:.2f} |",
        f"| memory of the client, interpreter and libraries included | < 150 MiB | {peak:.0f} MiB |",
        f"| day files of {SMALL_ROWS} rows each | ≥ 200 files/s | {small[0]:.0f} files/s |",
        "",
        "Processor time of client and server together, indexes included, which says what the work costs "
        "where other programs share the machine (s):",
        "",
        "| file | bare COPY | loaded with indexes | with 1 % bad rows |",
        "|---|---|---|---|",
        *(f"| {r.entity} | {r.cpu_bare:.2f} | {r.cpu_loaded:.2f} | {r.cpu_bad:.2f} |" for r in rows),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows-scale", type=float, default=1.0, help="share of the rows, for a quick run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=[*FILES, "small"], help="measure this alone; writes nothing")
    parser.add_argument("--out", type=Path, help="page to write, e.g. docs/benchmarks/load.md")
    parser.add_argument("--measure", choices=["bare", "load"], help=argparse.SUPPRESS)
    parser.add_argument("--entity", help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--database", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments)
        return
    with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
        bench = Bench(Path(folder), arguments.rows_scale, arguments.rounds)
        try:
            rows = [compare(bench, entity) for entity in FILES if arguments.only in (None, entity)]
            small = small_files(bench, 2) if arguments.only in (None, "small") else (0.0, 0.0)
            if rows:
                write(report(rows, small, bench), None if arguments.only else arguments.out)
            else:
                print(f"{small[0]:.0f} small files/s, peak {small[1]:.0f} MiB")
        finally:
            bench.server.remove()


if __name__ == "__main__":
    main()
