"""How long one plain sales file takes from a shell to the published marts, and how much memory.

    python tests/benchmarks/ingest.py [--lines 40000] [--rounds 3] [--out docs/benchmarks/ingest.md]

`ecommerce-dw ingest FILE --source sales`, each time in a process of its own: into an empty, migrated
warehouse of this script's own, where dbt makes every view and loads every seed for the first time, and into
one that took in a small file before, as every platform has that is up. Checkpoints and dbt's data tests
run, and are told apart: what they take is not counted in the figure that the aim is about. Beside it, for
scale, the loading of the same file alone.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from page import machine, spread, write

#: Seconds and bytes that the aim allows for 40,000 lines.
AIM_SECONDS, AIM_BYTES = 12.0, 300e6


def write_sales(file: Path, lines: int) -> None:
    """Two years of a shop of so many sales, two lines an order, five orders a customer."""
    random_ = random.Random(5)
    first = dt.date(2023, 1, 1)
    with file.open("w", encoding="utf-8") as target:
        target.write("Date,Customer ID,Order ID,Sales\n")
        for _ in range(lines):
            day = first + dt.timedelta(days=random_.randrange(730))
            order = random_.randrange(lines // 2)
            target.write(f"{day},C{order % (lines // 10)},{order},{random_.uniform(3, 200):.2f}\n")


def one_round(port: int, folder: Path, database: str, file: Path) -> dict[str, Any]:
    """Ingest in a process of its own; its summary."""
    settings = {
        "ECOMMERCE_DW_HOME": str(folder / "home"),
        "WAREHOUSE_PORT": str(port),
        "WAREHOUSE_DB": database,
        "LANDING_SALES": str(folder / database / "landing"),
    }
    command = [
        str(Path(sys.executable).with_name("ecommerce-dw")),
        "ingest",
        str(file),
        "--source",
        "sales",
        "--json",
    ]
    # as deploy.sh: a program that compiles all its files anew at every start is no measure
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, env=environment | settings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"ingest ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def main() -> None:
    """Measure, print, write the page."""
    from ecommerce_dw.migrations import migrate
    from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port, reachable_folder
    from ecommerce_dw.settings import Settings
    from ecommerce_dw.transform import parse

    parser = argparse.ArgumentParser(description="How long one plain sales file takes to the marts.")
    parser.add_argument("--lines", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="ingest-benchmark-") as name:
        folder = Path(name)
        file, small = folder / "sales.csv", folder / "small.csv"
        write_sales(file, arguments.lines)
        write_sales(small, 100)
        server = EmbeddedPostgres(reachable_folder(folder / "server"), free_port())
        server.start()
        try:
            firsts: list[dict[str, Any]] = []
            nexts: list[dict[str, Any]] = []
            for number in range(2 * arguments.rounds):
                # one name, so that the project is parsed once, as on a machine where it has run before
                server.execute("drop database if exists ingest with (force)")
                server.execute("create database ingest")
                settings = Settings(
                    _env_file=None,
                    ecommerce_dw_home=folder / "home",
                    warehouse_port=server.port,
                    warehouse_db="ingest",
                )
                migrate(settings)
                if number == 0:
                    parse(settings)
                shutil.rmtree(folder / "ingest" / "landing", ignore_errors=True)
                found = nexts if number % 2 else firsts
                if found is nexts:
                    one_round(server.port, folder, "ingest", small)
                found.append(one_round(server.port, folder, "ingest", file))
                print(f"{number + 1}: {found[-1]['step_seconds']}", flush=True)
        finally:
            server.remove()

    def seconds(figure: Callable[[dict[str, Any]], float], digits: int = 1) -> str:
        return " | ".join(spread(map(figure, found), digits, " s") for found in (firsts, nexts))

    def whole(found: dict[str, Any]) -> float:
        return sum(float(s) for s in found["step_seconds"].values())

    def checks(found: dict[str, Any]) -> float:
        return sum(float(s) for name, s in found["step_seconds"].items() if name.startswith("check_"))

    def counted(found: dict[str, Any]) -> float:
        return whole(found) - checks(found) - float(found["test_seconds"]) / 2  # tests run on two threads

    def memory(name: str) -> str:
        return " | ".join(
            f"{max(found[name] for found in ingests) / 1e6:.0f} MB" for ingests in (firsts, nexts)
        )

    page = "\n".join(
        [
            "# One sales file to the marts",
            "",
            "Written by `tests/benchmarks/ingest.py`. Seconds depend on the machine and what else it does.",
            "",
            f"{machine()} {arguments.lines:,} lines a file, {arguments.rounds} rounds: "
            "medians, and from where to where the rounds went.",
            "",
            "| figure | empty warehouse | one that ran before | aim |",
            "|---|---|---|---|",
            f"| without checkpoints and data tests | {seconds(counted)} | under {AIM_SECONDS:.0f} s |",
            f"| all of it | {seconds(whole)} | |",
            f"| checkpoints | {seconds(checks)} | |",
            f"| data tests, over both threads | {seconds(lambda found: found['test_seconds'])} | |",
            f"| loading alone | {seconds(lambda found: found['step_seconds']['load'], 2)} | |",
            f"| peak memory of the process | {memory('peak_memory')} | under {AIM_BYTES / 1e6:.0f} MB |",
            f"| of the checkpoints' process beside it | {memory('checkpoints_memory')} | |",
            "",
        ]
    )
    write(page, arguments.out)


if __name__ == "__main__":
    main()
