#!/usr/bin/env python3
"""How fast the simulator writes all entities, against plain writing of the same bytes, and in what memory.

Takes twenty days of a shop in its second year, large enough for the wanted number of order lines, so the
status updates, payments and returns of earlier orders are in the files too. The time includes everything:
Faker's names, the purchases since the opening, and the earlier days that are derived for what follows from
them. The reference writes the same bytes to as many files from memory. The same in a process of its own at a
quarter of the size, and for twice as many days, shows what the memory follows. Then two years at scale 1.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from page import machine, write

import shop_simulator

OPENING = date(2024, 1, 1)
FIRST = date(2025, 6, 1)
DAYS = 20
LINES_PER_DAY = 91  # at scale 1 in these days
AIM = 60
"""MB of CSV per second."""


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


def make_days(folder: Path, lines: int, days: int) -> dict[str, float]:
    """Make `days` days with about `lines` order lines each, all entities; what it took."""
    start, start_processor = time.perf_counter(), time.process_time()
    made = shop_simulator.generate(
        folder,
        opening=OPENING,
        first=FIRST,
        last=FIRST + timedelta(days=days - 1),
        scale=lines / LINES_PER_DAY,
    )
    return {
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - start_processor,
        "memory": peak_memory(),
        "bytes": made.bytes,
        "rows": made.rows,
        "lines": made.entities["order_items"].rows,
        "events": made.entities["web_events"].rows,
    }


def in_a_process(folder: Path, lines: int, days: int) -> dict[str, float]:
    """`make_days` in a process of its own, as a peak of memory belongs to a process."""
    command = [sys.executable, __file__, "--make", str(folder), str(lines), str(days)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return result


def bench_volume(folder: Path, lines: int) -> tuple[float, list[tuple[str, str]]]:
    """MB of CSV per second of the large run, and the figures as the page has them."""
    large = in_a_process(folder / "made", lines // DAYS, DAYS)
    reference = write_plainly(folder / "made", folder / "plain")
    for part in ("made", "plain"):
        shutil.rmtree(folder / part)
    small = in_a_process(folder / "small", lines // DAYS // 4, DAYS)
    longer = in_a_process(folder / "longer", lines // DAYS // 4, 2 * DAYS)
    rate = large["bytes"] / large["seconds"] / 1e6
    figures = [
        ("rows of all entities", f"{large['rows']:,}"),
        ("order lines", f"{large['lines']:,}"),
        ("web events per order line", f"{large['events'] / large['lines']:.2f}"),
        ("time", f"{large['seconds']:.2f} s"),
        ("processor time", f"{large['processor_seconds']:.2f} s"),
        ("CSV", f"{rate:.1f} MB/s of {large['bytes'] / 1e6:,.0f} MB"),
        ("CSV by processor time", f"{large['bytes'] / large['processor_seconds'] / 1e6:.1f} MB/s"),
        ("writing the same bytes plainly", f"{reference:.2f} s"),
        ("generating against plain writing, times", f"{large['seconds'] / reference:.1f}"),
        (f"peak memory at {large['lines'] / DAYS:,.0f} lines a day", f"{large['memory']:.0f} MB"),
        (f"peak memory at {small['lines'] / DAYS:,.0f} lines a day", f"{small['memory']:.0f} MB"),
        (
            f"peak memory at {longer['lines'] / 2 / DAYS:,.0f} lines a day, twice as many days",
            f"{longer['memory']:.0f} MB",
        ),
    ]
    return rate, figures


def bench_sample(folder: Path) -> list[tuple[str, str]]:
    """The figures of two years at scale 1."""
    start = time.perf_counter()
    made = shop_simulator.generate(folder / "sample", first=OPENING, last=OPENING + timedelta(days=729))
    seconds = time.perf_counter() - start
    rows = ", ".join(f"{count.rows:,} {name}" for name, count in made.entities.items())
    files = sum(count.files_written for count in made.entities.values())
    return [
        (f"730 days at scale 1, {files:,} files of {made.bytes / 1e6:.0f} MB", f"{seconds:.2f} s"),
        ("its rows", rows),
    ]


def page(figures: list[tuple[str, str]]) -> str:
    """The page for docs/benchmarks."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures)
    is_busy = os.getloadavg()[0] > 1.5
    busy = " The machine was busy with other work: by processor time it is faster." if is_busy else ""
    return f"""# How fast generating is

Written by `tests/benchmarks/generate.py`. Seconds depend on the machine and on what else it does.

{machine(with_warehouse=False)}{busy}

{DAYS} days of a shop in its second year, all entities with what follows from earlier orders, and the same
bytes written from memory to as many files. Then the sample of two years. Each is measured once.

| figure | measured |
|---|---|
{rows}

Aim: at least {AIM} MB/s of CSV, and memory that follows the size of the shop, not the number of days.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000, help="order lines to make, about")
    parser.add_argument("--at-least", type=float, help="fail when there are fewer MB of CSV per second")
    parser.add_argument("--out", type=Path, help="page to write, e.g. docs/benchmarks/generate.md")
    parser.add_argument("--make", nargs=3, metavar=("FOLDER", "LINES", "DAYS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        into, lines, days = arguments.make
        print(json.dumps(make_days(Path(into), int(lines), int(days))))
        return
    folder = Path(tempfile.mkdtemp(prefix="generate-"))
    try:
        rate, figures = bench_volume(folder, arguments.lines)
        text = page(figures + bench_sample(folder))
    finally:
        shutil.rmtree(folder)
    write(text, arguments.out)
    if arguments.at_least and rate < arguments.at_least:
        sys.exit(f"{rate:,.0f} MB/s are fewer than {arguments.at_least:,.0f}")


if __name__ == "__main__":
    main()
