"""Files far larger than memory should be: what they hold goes by, and the process stays small."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.faults.bad_files import DAY, file_of, header, row
from tests.faults.conftest import Warehouse

PROJECT = Path(__file__).resolve().parents[2]
#: What a load may take in memory beyond what the interpreter and its libraries do (MiB).
MOST_MEMORY = 128

#: A load in a process of its own: its summary, and the memory it took at most beyond that before it began.
LOADER = textwrap.dedent(
    """
    import dataclasses, json, resource, sys
    import numpy, psycopg2
    from pathlib import Path
    from ecommerce_dw.contracts.reader import read_contracts
    from ecommerce_dw.loading import load
    from ecommerce_dw.settings import Settings

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    settings = Settings(
        _env_file=None, ecommerce_dw_home=Path(sys.argv[1]), warehouse_port=int(sys.argv[2]),
        warehouse_db=sys.argv[3],
    )
    contracts = read_contracts(settings.contracts_dir)
    before = peak()
    summary = load(settings, contracts=contracts)
    print(json.dumps({"memory": peak() - before, "summary": dataclasses.asdict(summary)}, default=str))
    """
)


def load_apart(warehouse: Warehouse) -> tuple[dict[str, dict[str, Any]], float]:
    """Load in a process of its own: outcomes by path, and the memory it took (MiB)."""
    settings = warehouse.settings
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            LOADER,
            str(settings.home),
            str(settings.warehouse_port),
            settings.warehouse_db,
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return {outcome["path"]: outcome for outcome in told["summary"]["outcomes"]}, told["memory"]


def packed(target: Path, beginning: bytes, repeated: bytes, times: int, end: bytes = b"") -> None:
    """A gzip file that holds one part very often, made without ever holding it."""
    deflate = zlib.compressobj(9, wbits=31)
    with target.open("wb") as file:
        file.write(deflate.compress(beginning))
        for _ in range(times):
            file.write(deflate.compress(repeated))
        file.write(deflate.compress(end) + deflate.flush())


@pytest.mark.slow
def test_a_line_of_two_gigabytes_is_one_rejected_row(warehouse: Warehouse) -> None:
    orders, sales = warehouse.contracts["ecommerce"]["orders"], warehouse.contracts["sales"]["sales"]
    for source, path, contract in (
        ("ecommerce", f"orders/dt={DAY}/orders.line.csv", orders),
        ("sales", "line.csv", sales),  # whose day is found by reading it
    ):
        file = warehouse.land(source, path, b"")
        with file.open("wb") as sparse:  # zeros that take no room on the disk
            sparse.write(file_of(contract, row(contract, 1)))
            sparse.seek(2 << 30, 1)
            sparse.write(b"\n" + row(contract, 2).encode() + b"\n")

    outcomes, memory = load_apart(warehouse)

    assert memory < MOST_MEMORY
    for path in (f"orders/dt={DAY}/orders.line.csv", "line.csv"):
        outcome = outcomes[path]
        told = (outcome["outcome"], outcome["rows_read"], outcome["rows_loaded"], outcome["rows_rejected"])
        assert told == ("loaded", 3, 2, 1)
        assert warehouse.query(
            "select line_number, reasons, octet_length(raw_bytes) from raw.rejected_rows where path = %s",
            path,
        ) == [(3, ["is longer than 4,194,304 bytes; its first 65,536 bytes are kept"], 65_536)]
        (warehouse.settings.landing("sales" if path == "line.csv" else "ecommerce") / path).unlink()
    # the row behind it has the number of its line
    assert warehouse.query("select max(_line_number) from raw.sales__sales") == [(4,)]


@pytest.mark.slow
def test_a_bomb_is_refused_before_it_is_unpacked(warehouse: Warehouse) -> None:
    orders = warehouse.contracts["ecommerce"]["orders"]
    begin = file_of(orders, row(orders, 1))
    folder = warehouse.land("ecommerce", f"orders/dt={DAY}/_", b"").parent
    packed(folder / "orders.lines.csv.gz", begin, b"\n" * (1 << 20), 128)
    packed(folder / "orders.zeros.csv.gz", begin, bytes(1 << 20), 128)
    packed(folder / "orders.nothing.csv.gz", b"", bytes(1 << 20), 128)
    twice = gzip.compress(gzip.compress(begin + bytes(64 << 20)))
    (folder / "orders.twice.csv.gz").write_bytes(twice)

    outcomes, memory = load_apart(warehouse)

    assert memory < MOST_MEMORY
    said = {
        path.split(".")[1]: (outcome["outcome"], outcome["message"]) for path, outcome in outcomes.items()
    }
    assert {name: outcome for name, (outcome, _) in said.items()} == {
        "lines": "refused",
        "zeros": "refused",
        "nothing": "refused",
        "twice": "refused",
    }
    assert "more than 200 times its" in said["lines"][1]
    assert "more than 200 times its" in said["zeros"][1]
    assert "NUL byte" in said["nothing"][1]
    assert "gzip data" in said["twice"][1]
    assert warehouse.query(
        "select count(*) from raw.ecommerce__orders as r join raw.load_ledger as l on l.file_id = r._file_id "
        "where l.path like '%%.gz'"
    ) == [(0,)]
    for path in outcomes:
        (warehouse.settings.landing("ecommerce") / path).unlink()


def test_what_unpacks_to_more_is_refused_by_the_setting(warehouse: Warehouse) -> None:
    """The same bound with less to unpack: a file of 100 MB that a stricter setting takes for a bomb."""
    orders = warehouse.contracts["ecommerce"]["orders"]
    file = warehouse.land("ecommerce", f"orders/dt={DAY}/orders.bound.csv.gz", b"")
    packed(file, file_of(orders, row(orders, 1)), b"\n" * (1 << 20), 100)
    strict = warehouse.settings.model_copy(update={"load_max_expansion": 10})
    tolerant = warehouse.settings

    warehouse.settings = strict
    refused = warehouse.load()
    warehouse.settings = tolerant

    assert [(o.outcome, o.rows_loaded) for o in refused.outcomes] == [("refused", 0)]
    assert f"more than 10 times its {file.stat().st_size:,} bytes" in str(refused.outcomes[0].message)
    file.unlink()


def test_ten_thousand_rows_of_a_megabyte_each_are_judged_in_little_memory(warehouse: Warehouse) -> None:
    """Fewer of them, as many as show whether rejected rows wait in memory until the end."""
    orders = warehouse.contracts["ecommerce"]["orders"]
    file = warehouse.land("ecommerce", f"orders/dt={DAY}/orders.wide.csv", b"")
    with file.open("wb") as wide:
        wide.write(header(orders).encode() + b"\n")
        for number in range(10):
            wide.write(row(orders, number, customer_id="x" * (3 << 20)).encode() + b"\n")

    outcomes, memory = load_apart(warehouse)

    assert outcomes[f"orders/dt={DAY}/orders.wide.csv"]["rows_rejected"] == 10
    assert memory < MOST_MEMORY
    file.unlink()
