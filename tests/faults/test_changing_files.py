"""Files that change, go or may not be read while the loader looks at them."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecommerce_dw.loading.discover import discover
from ecommerce_dw.loading.landing import (
    LandingError,
    LocalFile,
    LocalLanding,
    UnreadableFileError,
    landing_of,
)
from ecommerce_dw.loading.stream import FileReader, RecordStream, fetch_records, read_header
from tests.faults.bad_files import DAY, file_of, row
from tests.faults.conftest import Warehouse

PATH = f"orders/dt={DAY}/orders.csv"


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """As a user who may not read what others lock away; root may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.fault("landing file unreadable")
def test_a_file_and_a_folder_without_permission_are_named_and_tried_again() -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path, which is closed to others
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "locked").mkdir()
        file = folder / "file.csv"
        file.write_bytes(b"a\n")
        file.chmod(0)
        (folder / "locked").chmod(0)
        with nobody():
            unreadable: list[tuple[str, str]] = []
            assert [listed.path for listed in LocalLanding(folder).files(unreadable)] == ["file.csv"]
            assert unreadable == [("locked/", "Permission denied")]
            with pytest.raises(
                UnreadableFileError, match=r"file\.csv could not be opened: Permission denied"
            ):
                FileReader(LocalFile(file), is_gzip=False)
        (folder / "locked").chmod(0o700)


@pytest.mark.fault("landing file replaced")
def test_a_file_replaced_between_two_readings_is_not_taken(warehouse: Warehouse, tmp_path: Path) -> None:
    orders = warehouse.contracts["ecommerce"]["orders"]
    file = tmp_path / "orders.csv"
    data = file_of(orders, row(orders, 1), row(orders, 2))
    file.write_bytes(data)
    reader = FileReader(LocalFile(file), is_gzip=False)
    content = b"".join(reader.pieces())
    head = read_header(content, orders, is_whole_file=True)
    stream = RecordStream(orders, head, 1)
    assert b"".join(stream.lines([content[head.length :]])).count(b"\n") == 2
    other = tmp_path / "_other"
    other.write_bytes(data.replace(b"A-1", b"B-1"))
    other.rename(file)

    with pytest.raises(UnreadableFileError, match="changed while it was read"):
        list(fetch_records(LocalFile(file), is_gzip=False, stream=stream, wanted=[2], form=reader.form))


@pytest.mark.fault("landing file truncated and rewritten")
def test_a_file_rewritten_all_the_time_is_loaded_whole_or_not_at_all(warehouse: Warehouse) -> None:
    """A producer that does not rename: each state of the file has rows of one number alone."""
    orders = warehouse.contracts["ecommerce"]["orders"]
    states = [
        file_of(orders, *(row(orders, n, customer_id=f"state-{state}") for n in range(4000)))
        for state in range(4)
    ]
    file = warehouse.land("ecommerce", PATH, states[0])
    is_over = threading.Event()

    def rewrite() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            file.write_bytes(states[number % len(states)])

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        outcomes = [outcome.outcome for _ in range(8) for outcome in warehouse.load().outcomes]
    finally:
        is_over.set()
        writer.join()
    file.write_bytes(states[1])
    warehouse.load()

    assert {*outcomes} <= {"loaded", "refused", "unreadable", "unchanged"}
    assert warehouse.query("select customer_id, count(*) from raw.ecommerce__orders group by 1") == [
        ("state-1", 4000)
    ]
    assert warehouse.query(
        "select count(*) from raw.load_ledger where rows_read <> rows_loaded + rows_rejected and load_id > 0"
    ) == [(0,)]


@pytest.mark.fault("landing file deleted")
def test_a_file_that_comes_and_goes_is_loaded_whole_or_tried_again(warehouse: Warehouse) -> None:
    """Deleted before it is opened, and while it is read; what comes instead has other rows."""
    orders = warehouse.contracts["ecommerce"]["orders"]
    states = [
        file_of(orders, *(row(orders, n, customer_id=f"state-{state}") for n in range(4000)))
        for state in range(2)
    ]
    path = f"orders/dt={DAY}/orders.comes-and-goes.csv"
    file = warehouse.land("ecommerce", path, states[0])
    waiting = file.with_name("_waiting")
    is_over = threading.Event()

    def come_and_go() -> None:
        number = 0
        while not is_over.wait(0.001):
            number += 1
            waiting.write_bytes(states[number % 2])
            file.unlink()
            is_over.wait(0.002)
            waiting.rename(file)

    producer = threading.Thread(target=come_and_go)
    producer.start()
    try:
        outcomes = [o.outcome for _ in range(8) for o in warehouse.load().outcomes if o.path == path]
    finally:
        is_over.set()
        producer.join()
    warehouse.load()

    assert {*outcomes} <= {"loaded", "unreadable", "unchanged"}
    versions = "select distinct rows_loaded from raw.load_ledger where path = %s and status = 'loaded'"
    assert warehouse.query(versions, path) == [(4000,)]
    in_effect = (
        "select customer_id, count(*) from raw.ecommerce__orders as o "
        "join raw.load_ledger as l on l.file_id = o._file_id where l.path = %s group by 1"
    )
    ((customer, rows),) = warehouse.query(in_effect, path)
    assert file.read_bytes() == states[int(customer.removeprefix("state-"))]
    assert rows == 4000
    file.unlink()


@pytest.mark.parametrize("path", ["../outside.csv", "orders/../../outside.csv", "/etc/passwd", ".."])
def test_a_path_never_leads_out_of_the_landing_zone(warehouse: Warehouse, path: str, tmp_path: Path) -> None:
    landing = landing_of(warehouse.settings, "ecommerce")
    for ask in (landing.at, landing.holds, lambda asked: landing.put(asked, tmp_path / "x")):
        with pytest.raises(LandingError, match="leads out of the landing zone"):
            ask(path)


def test_a_folder_that_is_a_link_out_is_named_and_not_looked_into(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    orders = warehouse.contracts["ecommerce"]["orders"]
    elsewhere = tmp_path / "dt=2026-01-06"
    elsewhere.mkdir()
    (elsewhere / "orders.csv").write_bytes(file_of(orders, row(orders, 1)))
    link = warehouse.land("ecommerce", PATH, file_of(orders)).parents[1] / "dt=2026-01-06"
    link.symlink_to(elsewhere)

    zone = discover(landing_of(warehouse.settings, "ecommerce"), warehouse.contracts["ecommerce"])

    assert [file.path for file in zone.files] == [PATH]
    assert [(path, "leads out of" in reason) for path, reason in zone.unreadable] == [
        ("orders/dt=2026-01-06", True)
    ]
    link.unlink()


@pytest.mark.fault("landing file swapped for a link")
def test_a_file_swapped_for_a_link_after_it_was_listed_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "zone").mkdir()
    (tmp_path / "secret").write_bytes(b"secret\n")
    file = tmp_path / "zone" / "a.csv"
    file.write_bytes(b"a\n")
    (listed,) = LocalLanding(tmp_path / "zone").files([])
    assert listed.look().bytes == 2
    file.unlink()
    file.symlink_to(tmp_path / "secret")

    with pytest.raises(UnreadableFileError, match="leads out of the landing zone"):
        FileReader(listed.location, is_gzip=False)


def test_a_landing_zone_may_itself_be_a_link(warehouse: Warehouse, tmp_path: Path) -> None:
    orders = warehouse.contracts["ecommerce"]["orders"]
    (tmp_path / "real" / f"orders/dt={DAY}").mkdir(parents=True)
    (tmp_path / "real" / PATH).write_bytes(file_of(orders, row(orders, 1)))
    (tmp_path / "zone").symlink_to(tmp_path / "real")

    zone = discover(LocalLanding(tmp_path / "zone"), warehouse.contracts["ecommerce"])

    assert [file.path for file in zone.files] == [PATH]
    FileReader(zone.files[0].location, is_gzip=False).close()
