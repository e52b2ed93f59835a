"""The command: what it makes, and what it says when it is asked for nonsense."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

import shop_simulator
from shop_simulator import ENTITIES
from shop_simulator.cli import main

COMMAND = Path(__file__).parents[3] / "data-generation" / "generate_ecommerce_data.py"


def test_the_command_makes_the_days_up_to_the_end(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path / "landing zone"), "--end", "2026-01-31", "--days", "3", "--gzip"]
    process = subprocess.run(
        [sys.executable, str(COMMAND), *arguments, "--entities", "orders, order_items"],
        capture_output=True,
        text=True,
        check=True,
    )
    made = sorted(str(p.relative_to(tmp_path / "landing zone")) for p in tmp_path.rglob("*.gz"))
    assert made == [
        f"{entity}/dt=2026-01-{day}/{entity}.csv.gz"
        for entity in ("order_items", "orders")
        for day in (29, 30, 31)
    ]
    assert "3 days, 2026-01-29 to 2026-01-31" in process.stdout
    assert process.stderr == ""


def test_days_with_an_opening_are_the_last_days_of_that_shop(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    shop_simulator.generate(whole, first=date(2026, 1, 1), last=date(2026, 1, 31))
    arguments = ["--opening", "2026-01-01", "--end", "2026-01-31", "--days", "2"]
    result = CliRunner().invoke(main, ["--out", str(part), *arguments])
    assert result.exit_code == 0, result.output
    paths = list(part.rglob("*.csv"))
    assert len(paths) == 2 * len(ENTITIES)
    assert all(path.read_bytes() == (whole / path.relative_to(part)).read_bytes() for path in paths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--entities", "orders,refunds"], "unknown entity 'refunds'; known are customers, products"),
        (["--entities", ","], "no entity is named"),
        (["--days", "0"], "0 is not in the range x>=1"),
        (["--scale", "0"], "the scale must be a number greater than 0, not 0"),
        (["--scale", "nan"], "the scale must be a number greater than 0, not nan"),
        (["--seed", "-1"], "-1 is not in the range x>=0"),
        (["--end", "31.01.2026"], "not a date of the form YYYY-MM-DD"),
        (["--opening", "2026-02-01"], "2026-01-31 is before the shop's opening on 2026-02-01"),
        (["--days", "99999999"], "date value out of range"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    base = ["--out", str(out), "--end", "2026-01-31", "--days", "1"]
    result = CliRunner().invoke(main, [*base, *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "landing"
    result = CliRunner().invoke(main, ["--out", str(out), "--end", "2026-01-31", "--days", "1"])
    assert result.exit_code == 1
    assert f"cannot write to {out}" in result.output


def test_a_day_is_not_delivered_both_plain_and_compressed(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--end", "2026-01-31", "--days", "1"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    result = CliRunner().invoke(main, [*arguments, "--gzip"])
    assert result.exit_code == 1
    assert "the day would be delivered twice" in result.output
    assert not list(tmp_path.rglob("*.gz"))


def test_help_explains_every_option() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for option in ("--out", "--end", "--days", "--opening", "--scale", "--seed", "--entities", "--gzip"):
        assert option in result.output


def test_unknown_entities_and_reversed_days_are_refused_by_the_function(tmp_path: Path) -> None:
    day = date(2026, 1, 31)
    with pytest.raises(ValueError, match="unknown entity 'refunds'"):
        shop_simulator.generate(tmp_path, first=day, last=day, entities=["refunds"])
    with pytest.raises(ValueError, match="is before the first day"):
        shop_simulator.generate(tmp_path, first=day, last=date(2026, 1, 30))
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_after_each_day(tmp_path: Path) -> None:
    seen: list[tuple[date, int, int]] = []
    shop_simulator.generate(
        tmp_path,
        first=date(2026, 1, 30),
        last=date(2026, 1, 31),
        progress=lambda day, done, total: seen.append((day, done, total)),
    )
    assert seen == [(date(2026, 1, 30), 1, 2), (date(2026, 1, 31), 2, 2)]
