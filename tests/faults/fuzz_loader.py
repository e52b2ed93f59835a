"""Fuzzes the loader: valid files with bytes changed, loaded for real, until the time is up.

    ./deploy.sh test  runs a few of them;  for longer, from the checkout with the environment active:
    python -m tests.faults.fuzz_loader [--minutes 10] [--seed 1] [--batch 40]

Each round lands a batch of broken files of every entity and loads it into a server of this script's own. A
file must be refused or unreadable with nothing of it in raw, or loaded with rows + rejects = the records in
it. The seed that is printed makes the same files again; a file that breaks the law is kept and named.
"""

from __future__ import annotations

import argparse
import gzip
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecommerce_dw import db
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port, reachable_folder
from tests.conftest import settings_for
from tests.faults.bad_files import DAY, file_of, row
from tests.faults.conftest import Warehouse
from tests.faults.reference import count_records

#: What is put into files: what means something to CSV, gzip, UTF-8 or PostgreSQL.
PARTS = (
    b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"\0", b"\\.", b"\\N", b"\xff", b"\xc3", b"\xef\xbb\xbf", b" ",
    b"\t", b"%", b"{", b"'", b";", b"now", b"NaN", b"-", b"1e999", b"0x1", b"\x1f\x8b", b"\xe2\x80\xae",
)  # fmt: skip


@dataclass(frozen=True)
class Broken:
    """A broken file: where it was landed, what is in it."""

    contract: Contract
    path: str
    data: bytes

    @property
    def content(self) -> bytes | None:
        """Its content, unpacked; None where that cannot be."""
        if not self.path.endswith(".gz"):
            return self.data
        try:
            return gzip.decompress(self.data)
        except (OSError, EOFError, zlib.error):
            return None


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The bytes with a few places changed."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            changed[at:at] = rng.choice(PARTS)
        elif kind == 1 and changed:
            changed[at % len(changed)] = rng.randrange(256)
        elif kind == 2:
            del changed[at : at + rng.choice((1, 1, 2, 10, 100))]
        elif kind == 3:
            end = at + rng.randrange(1, 60)
            changed[at:at] = changed[at:end] * rng.choice((1, 1, 2, 30))
        elif kind == 4:
            changed[at : at + 1] = rng.choice(PARTS)
        else:
            del changed[at:]
    return bytes(changed)


def broken_files(rng: random.Random, contracts: Sequence[Contract], count: int, name: str) -> list[Broken]:
    """Broken files of these contracts."""
    files = []
    for number in range(count):
        contract = rng.choice(contracts)
        end = rng.choice(("\n", "\n", "\r\n"))
        data = file_of(contract, *(row(contract, n) for n in range(rng.choice((0, 1, 3, 30)))), end=end)
        path = contract.layout.pattern.replace("{date}", DAY).replace("{name}", DAY)
        path = path.replace("{part}", f".{name}-{number}")
        kind = rng.randrange(4)
        if kind == 0:  # broken, then packed
            path, data = f"{path}.gz", gzip.compress(mutated(rng, data), mtime=0)
        elif kind == 1:
            path, data = f"{path}.gz", mutated(rng, gzip.compress(data, mtime=0))
        else:
            data = mutated(rng, data)
        files.append(Broken(contract, path, data))
    return files


def law_breakers(warehouse: Warehouse, files: Sequence[Broken]) -> Mapping[str, str]:
    """Load these files and judge each: path → how it breaks the law."""
    for file in files:
        warehouse.land(file.contract.source, file.path, file.data)
    outcomes = {(outcome.source, outcome.path): outcome for outcome in warehouse.load().outcomes}
    there = warehouse.rows_by_file()
    rejects = {
        (source, path): count
        for source, path, count in warehouse.query(
            "select source, path, count(*) from raw.rejected_rows group by 1, 2"
        )
    }
    broken: dict[str, str] = {}
    for file in files:
        key = file.contract.source, file.path
        outcome, rows = outcomes[key], there.get(key, 0)
        (warehouse.settings.landing(file.contract.source) / file.path).unlink()
        if outcome.outcome in ("refused", "unreadable"):
            if rows or not outcome.message:
                broken[file.path] = f"{outcome.outcome}, but {rows} rows are in raw: {outcome.message}"
            continue
        content = file.content
        expected = range(0) if content is None else count_records(content, file.contract)
        if outcome.outcome != "loaded":
            broken[file.path] = f"{outcome.outcome}: {outcome.message}"
        elif rows + rejects.get(key, 0) not in expected or rows != outcome.rows_loaded:
            broken[file.path] = (
                f"{expected} records, {rows} rows, {rejects.get(key, 0)} rejects; the loader says {outcome}"
            )
    return broken


def main() -> int:
    """Fuzz until the time is up; 1 where a file broke the law."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default: 5)")
    parser.add_argument(
        "--seed", type=int, default=time.time_ns() % 1_000_000, help="default: another each time"
    )
    parser.add_argument("--batch", type=int, default=40, help="files loaded together (default: 40)")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    rng = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-loader-"))
    server = EmbeddedPostgres(reachable_folder(folder / "server"), free_port(), settings=(("fsync", "off"),))
    server.start()
    count, end = 0, time.monotonic() + 60 * options.minutes
    try:
        server.execute("create database fuzz")
        settings = settings_for(server, "fuzz", folder)
        migrate(settings)
        with db.connect("owner", settings=settings) as owner:
            owner.autocommit = True
            warehouse = Warehouse(settings, owner, read_contracts(settings.contracts_dir))
            contracts = [c for entities in warehouse.contracts.values() for c in entities.values()]
            while time.monotonic() < end:
                files = broken_files(rng, contracts, options.batch, f"f{count}")
                count += len(files)
                for path, why in law_breakers(warehouse, files).items():
                    kept = folder / path.replace("/", "_")
                    kept.write_bytes(next(file.data for file in files if file.path == path))
                    print(f"seed {options.seed}: {path}: {why}\n  kept as {kept}", flush=True)
                    return 1
    finally:
        server.remove()
        print(f"{count} files with seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
