"""Defects: drawn by seed, told by the truth, the same whether days come one by one or at once."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

import shop_simulator
from shop_simulator import ENTITIES, Arrivals, Shop
from shop_simulator.cli import main
from shop_simulator.defects import COLUMNS, KINDS, ROW_KINDS

OPENING = date(2026, 1, 1)
DAYS = 24
LAST = OPENING + timedelta(days=DAYS - 1)
RATE = 0.15


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def generate(out: Path, *, first: date = OPENING, last: date = LAST, truth: Path | None = None) -> None:
    shop_simulator.generate(
        out, first=first, last=last, opening=OPENING, scale=0.2, defects=RATE, truth=truth
    )


def told(truth: Path) -> list[dict[str, str]]:
    with (truth / "defects.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A defected shop's landing zone and truth, made in one call."""
    folder = tmp_path_factory.mktemp("made")
    generate(folder / "landing", truth=folder / "truth")
    return folder


def test_the_table_names_columns_of_every_entity() -> None:
    assert set(COLUMNS) == set(ENTITIES)
    for name, columns in COLUMNS.items():
        named = {
            *columns.key, columns.ordering, *columns.types, *columns.required, *columns.not_negative,
            *columns.codes, *columns.references, *columns.amounts, *(column for column, _ in columns.changed),
        }  # fmt: skip
        assert named | {columns.damaged} <= set(ENTITIES[name].columns), name
        assert set(columns.references.values()) <= set(ENTITIES)
        assert columns.damaged not in (*columns.key, *columns.references)


def test_days_made_one_by_one_end_as_days_made_at_once(made: Path, tmp_path: Path) -> None:
    one_by_one = [LAST - timedelta(days=n) for n in reversed(range(6))]
    generate(tmp_path / "landing", last=one_by_one[0] - timedelta(days=1), truth=tmp_path / "truth")
    for day in one_by_one:
        generate(tmp_path / "landing", first=day, last=day, truth=tmp_path / "truth")
    assert files(tmp_path / "landing") == files(made / "landing")
    place = ("kind", "entity", "file", "line_number", "key", "column", "injected", "outcome", "arrives_on")
    assert [[row[name] for name in place] for row in told(tmp_path / "truth")] == [
        [row[name] for name in place] for row in told(made / "truth")
    ]


def test_any_days_arrivals_can_be_asked_for_alone(made: Path) -> None:
    day = LAST - timedelta(days=3)
    one, other = (Arrivals(Shop(42, OPENING, 0.2), RATE) for _ in range(2))
    for number in range(DAYS):
        one.arrivals(OPENING + timedelta(days=number))
    contents = [
        [(a.path, a.content and a.content()) for a in arrivals.arrivals(day)] for arrivals in (one, other)
    ]
    assert contents[0] == contents[1]
    assert contents[0]


def test_another_call_changes_no_bytes(made: Path) -> None:
    before = files(made)
    generate(made / "landing", truth=made / "truth")
    assert files(made) == before


def test_the_lines_unlike_a_sound_shops_are_those_the_truth_names(made: Path, tmp_path: Path) -> None:
    shop_simulator.generate(tmp_path, first=OPENING, last=LAST, scale=0.2)
    sound, truth = files(tmp_path), told(made / "truth")
    not_as_spoiled = {
        row["file"]
        for row in truth
        if row["kind"] == "redelivered_changed" or row["arrives_on"] > LAST.isoformat()
    }
    # a key that stands again further down is wrong because of that, not in itself
    named = {
        (row["file"], int(row["line_number"]))
        for row in truth
        if row["line_number"] and row["kind"] != "duplicate_key_in_file"
    }
    compared = 0
    for path, content in files(made / "landing").items():
        if path in sound and path not in not_as_spoiled:
            lines = content.split(b"\n")
            for number, clean in enumerate(sound[path].split(b"\n")[:-1], 1):
                assert (lines[number - 1] != clean) == ((path, number) in named), f"{path}:{number}"
            compared += 1
    assert compared > 100


def test_every_kind_occurs_and_about_as_often_as_the_rate_says(made: Path) -> None:
    truth = json.loads((made / "truth" / "truth.json").read_text())
    injected = Counter(row["kind"] for row in told(made / "truth"))
    assert injected == truth["defects"]["injected"]
    assert set(injected) <= set(KINDS)
    assert set(ROW_KINDS) <= set(injected)
    rows = sum(day["rows"] for days in truth["totals"].values() for day in days.values())
    share = sum(injected[kind] for kind in ROW_KINDS) / rows
    assert 0.3 * RATE < share < 1.1 * RATE  # less, as no file has more bad rows than it may


def test_a_rejected_parent_is_told_with_what_becomes_of_its_children(made: Path) -> None:
    told_rows = told(made / "truth")
    parents = [
        row
        for row in told_rows
        if row["entity"] in ("products", "orders") and row["becomes"].startswith("no row of this key")
    ]
    assert parents
    with_children = [row for row in parents if ";" in row["becomes"]]
    assert with_children
    for row in with_children:
        expected = "point at an inferred member" if row["entity"] == "products" else "wait"
        assert row["becomes"].endswith(expected)
    for row in told_rows:
        if row["kind"] == "duplicate_key_in_file" and row["arrives_on"] <= LAST.isoformat():
            assert row["becomes"] == "another row of this key is there"


def test_a_rate_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rate of defects must be from 0"):
        shop_simulator.generate(tmp_path, first=OPENING, last=LAST, defects=0.5)
    with pytest.raises(ValueError, match="plain files"):
        shop_simulator.generate(tmp_path, first=OPENING, last=LAST, defects=0.1, gzip=True)
    assert files(tmp_path) == {}


def test_the_command_takes_a_rate(made: Path, tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path / "landing"), "--truth", str(tmp_path / "truth"), "--scale", "0.2"]
    arguments += ["--end", LAST.isoformat(), "--days", str(DAYS), "--defects", str(RATE)]
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert files(tmp_path / "landing") == files(made / "landing")
    assert told(tmp_path / "truth") == told(made / "truth")
