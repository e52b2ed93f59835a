#!/usr/bin/env python3
"""How fast the simulator writes orders and order lines, against plain writing of the same bytes.

Takes twenty days of a shop in its second year, large enough for the wanted number of order lines, so the
status updates of earlier orders are in the files too. The time includes everything: Faker's names
and the fourteen earlier days that are derived for their updates. The reference writes the same bytes to
as many files from memory. Then two years at scale 1, all entities.
"""

import argparse
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import shop_simulator

OPENING = date(2024, 1, 1)
FIRST = date(2025, 6, 1)
DAYS = 20
LINES_PER_DAY = 93  # at scale 1 in these days


def peak_memory() -> float:
    """The process's largest resident size so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def write_plainly(source: Path, target: Path) -> float:
    """Seconds to write the files below `source` again below `target`; reading is not counted."""
    seconds = 0.0
    for path in sorted(source.rglob("*.csv")):
        data = path.read_bytes()
        copy = target / path.relative_to(source)
        start = time.perf_counter()
        copy.parent.mkdir(parents=True)
        copy.write_bytes(data)
        seconds += time.perf_counter() - start
    return seconds


def bench_volume(folder: Path, lines: int) -> tuple[float, list[tuple[str, str]]]:
    """The order lines per second of one large run, and its figures as the page has them."""
    start = time.perf_counter()
    made = shop_simulator.generate(
        folder / "made",
        opening=OPENING,
        first=FIRST,
        last=FIRST + timedelta(days=DAYS - 1),
        scale=lines / (DAYS * LINES_PER_DAY),
        entities=["orders", "order_items"],
    )
    seconds = time.perf_counter() - start
    memory = peak_memory()
    reference = write_plainly(folder / "made", folder / "plain")
    rate = made.entities["order_items"].rows / seconds
    figures = [
        ("order lines", f"{made.entities['order_items'].rows:,}"),
        ("order rows, new orders and status updates", f"{made.entities['orders'].rows:,}"),
        ("time", f"{seconds:.2f} s"),
        ("order lines per second, orders and lines written", f"{rate:,.0f}"),
        ("CSV", f"{made.bytes / seconds / 1e6:.1f} MB/s of {made.bytes / 1e6:,.0f} MB"),
        ("peak memory", f"{memory:.0f} MB"),
        ("writing the same bytes plainly", f"{reference:.2f} s"),
        ("generating against plain writing, times", f"{seconds / reference:.1f}"),
    ]
    return rate, figures


def bench_sample(folder: Path) -> list[tuple[str, str]]:
    """The figures of two years at scale 1."""
    start = time.perf_counter()
    made = shop_simulator.generate(folder / "sample", first=OPENING, last=OPENING + timedelta(days=729))
    seconds = time.perf_counter() - start
    rows = ", ".join(f"{count.rows:,} {name}" for name, count in made.entities.items())
    return [("730 days at scale 1, all entities", f"{seconds:.2f} s"), ("its rows", rows)]


def page(figures: list[tuple[str, str]]) -> str:
    """The page for docs/benchmarks."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures)
    system = f"{platform.system()} {platform.machine()}"
    machine = f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}"
    return f"""# How fast generating is

Written by `tests/benchmarks/generate.py`. Seconds depend on the machine and on what else it does.

Machine: {machine}, load average {os.getloadavg()[0]:.1f}.

{DAYS} days of a shop in its second year, orders and order lines with the status updates of earlier
orders, and the same bytes written from memory to as many files. Then the sample of two years, all entities.

| figure | measured |
|---|---|
{rows}

Aim: at least 250,000 order lines per second.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000, help="order lines to make, about")
    parser.add_argument("--at-least", type=float, help="fail when there are fewer order lines per second")
    parser.add_argument("--out", type=Path, help="page to write, e.g. docs/benchmarks/generate.md")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="generate-"))
    try:
        rate, figures = bench_volume(folder, arguments.lines)
        text = page(figures + bench_sample(folder))
    finally:
        shutil.rmtree(folder)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text, encoding="utf-8")
    if arguments.at_least and rate < arguments.at_least:
        sys.exit(f"{rate:,.0f} order lines/s are fewer than {arguments.at_least:,.0f}")


if __name__ == "__main__":
    main()
