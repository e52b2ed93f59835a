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


def bench_volume(folder: Path, lines: int) -> float:
    """Prints the figures of one large run and returns its order lines per second."""
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
    print(f"order lines          {made.entities['order_items'].rows:>12,}")
    print(f"order rows           {made.entities['orders'].rows:>12,}  (new orders and status updates)")
    print(f"time                 {seconds:>12.2f} s")
    print(f"order lines/s        {rate:>12,.0f}  (orders and lines written)")
    print(f"CSV                  {made.bytes / seconds / 1e6:>12.1f} MB/s of {made.bytes / 1e6:,.0f} MB")
    print(f"peak memory          {memory:>12.0f} MB")
    print(
        f"plain writing        {reference:>12.2f} s, so generating takes {seconds / reference:.1f} times that"
    )
    return rate


def bench_sample(folder: Path) -> None:
    """Prints the time of two years at scale 1."""
    start = time.perf_counter()
    made = shop_simulator.generate(folder / "sample", first=OPENING, last=OPENING + timedelta(days=729))
    seconds = time.perf_counter() - start
    rows = ", ".join(f"{count.rows:,} {name}" for name, count in made.entities.items())
    print(f"730 days at scale 1  {seconds:>12.2f} s  ({rows})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000, help="order lines to make, about")
    parser.add_argument("--at-least", type=float, help="fail when there are fewer order lines per second")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="generate-"))
    try:
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
        rate = bench_volume(folder, arguments.lines)
        bench_sample(folder)
    finally:
        shutil.rmtree(folder)
    if arguments.at_least and rate < arguments.at_least:
        sys.exit(f"{rate:,.0f} order lines/s are fewer than {arguments.at_least:,.0f}")


if __name__ == "__main__":
    main()
