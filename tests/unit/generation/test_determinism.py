"""A day follows from seed, opening, scale and date: not from process, order or what was made before."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest

import shop_simulator
from shop_simulator import ENTITIES, Generation, Shop

OPENING = date(2025, 10, 20)

DIGESTS = """
import hashlib, json, sys
from datetime import date, timedelta
from shop_simulator import ENTITIES, Shop

shop = Shop(seed=7, opening=date(2025, 10, 20), scale=2)
digests = {}
for number in json.loads(sys.argv[1]):
    for entity in sys.argv[2].split(","):
        text = shop.day(shop.opening + timedelta(days=number)).csv(entity)
        digests[f"{number}/{entity}"] = hashlib.sha256(text).hexdigest()
print(json.dumps(digests))
"""


def files_of(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()
    }


def digests_in_a_process(days: list[int], entities: list[str], hash_seed: str) -> Mapping[str, str]:
    process = subprocess.run(
        [sys.executable, "-c", DIGESTS, json.dumps(days), ",".join(entities)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    digests: dict[str, str] = json.loads(process.stdout)
    return digests


def test_two_processes_with_other_hash_seeds_and_orders_of_days_give_the_same_bytes() -> None:
    days = list(range(45))
    mixed = sorted(days, key=lambda number: number * 17 % 45)
    names = list(ENTITIES)
    assert digests_in_a_process(days, names, "1") == digests_in_a_process(mixed, names[::-1], "2")


def test_days_in_reverse_order_give_the_same_bytes() -> None:
    days = list(range(30))
    names = list(ENTITIES)
    assert digests_in_a_process(days, names, "0") == digests_in_a_process(days[::-1], names, "0")


@pytest.mark.parametrize("number", [0, 1, 13, 63, 64, 365, 729])
def test_a_day_made_alone_equals_the_same_day_of_a_long_run(number: int, two_years: Generation) -> None:
    day = two_years.opening + timedelta(days=number)
    alone = Shop(seed=42, opening=two_years.opening).day(day)
    for entity in ENTITIES:
        path = two_years.out / entity / f"dt={day}" / f"{entity}.csv"
        assert alone.csv(entity) == path.read_bytes()


def test_adding_missing_days_later_equals_one_long_run(tmp_path: Path) -> None:
    last = OPENING + timedelta(days=39)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    shop_simulator.generate(whole, first=OPENING, last=last)
    shop_simulator.generate(parts, first=OPENING, last=last - timedelta(days=7))
    shop_simulator.generate(parts, opening=OPENING, first=last - timedelta(days=6), last=last)
    assert files_of(parts) == files_of(whole)


def test_some_entities_alone_have_the_bytes_they_have_among_all(tmp_path: Path) -> None:
    last = OPENING + timedelta(days=19)
    shop_simulator.generate(tmp_path / "all", first=OPENING, last=last)
    expected = files_of(tmp_path / "all")
    for entity in ENTITIES:
        shop_simulator.generate(tmp_path / entity, first=OPENING, last=last, entities=[entity])
        for path, data in files_of(tmp_path / entity).items():
            assert data == expected[path]


@pytest.mark.parametrize("change", [{"seed": 8}, {"scale": 2.5}, {"opening": OPENING - timedelta(days=1)}])
def test_another_seed_scale_or_opening_is_another_shop(change: dict[str, object]) -> None:
    base: dict[str, object] = {"seed": 7, "scale": 2.0, "opening": OPENING}
    day = OPENING + timedelta(days=20)
    one, other = Shop(**base), Shop(**{**base, **change})  # type: ignore[arg-type]
    for entity in ("customers", "orders", "order_items"):
        assert one.day(day).csv(entity) != other.day(day).csv(entity)


def test_a_second_run_leaves_files_untouched_and_restores_what_differs(tmp_path: Path) -> None:
    last = OPENING + timedelta(days=9)
    shop_simulator.generate(tmp_path, first=OPENING, last=last)
    before = files_of(tmp_path)
    for path in tmp_path.rglob("*.csv"):
        os.utime(path, ns=(1, 1))
    damaged = sorted(tmp_path.rglob("*.csv"))[:3]
    damaged[0].write_bytes(damaged[0].read_bytes()[:-5])
    damaged[1].write_bytes(damaged[1].read_bytes() + b"more\n")
    damaged[2].unlink()
    again = shop_simulator.generate(tmp_path, first=OPENING, last=last)
    assert files_of(tmp_path) == before
    assert sum(count.files_written for count in again.entities.values()) == 3
    touched = {path for path in tmp_path.rglob("*.csv") if path.stat().st_mtime_ns != 1}
    assert touched == set(damaged)


def test_compressed_files_hold_the_same_text_and_carry_neither_name_nor_time(tmp_path: Path) -> None:
    last = OPENING + timedelta(days=4)
    shop_simulator.generate(tmp_path / "plain", first=OPENING, last=last)
    shop_simulator.generate(tmp_path / "gzip", first=OPENING, last=last, gzip=True)
    compressed = files_of(tmp_path / "gzip")
    assert {path.removesuffix(".gz"): gzip.decompress(data) for path, data in compressed.items()} == files_of(
        tmp_path / "plain"
    )
    for data in compressed.values():
        assert data[3] == 0 and data[4:8] == bytes(4)
    again = shop_simulator.generate(tmp_path / "gzip", first=OPENING, last=last, gzip=True)
    assert sum(count.files_unchanged for count in again.entities.values()) == len(compressed)


def test_no_more_than_fifteen_days_of_orders_are_kept_in_memory() -> None:
    shop = Shop(seed=7, opening=OPENING, scale=5)
    for number in range(60):
        for entity in ENTITIES:
            shop.day(OPENING + timedelta(days=number)).csv(entity)
        assert shop.orders.days_kept <= 15
