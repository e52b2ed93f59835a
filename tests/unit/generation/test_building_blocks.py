"""Text, random numbers and schedules against plain restatements of what they promise."""

import csv
import io
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_simulator import csv_text
from shop_simulator.pools import ascii_name
from shop_simulator.randomness import Streams, mixture
from shop_simulator.schedule import ChangeSchedule

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(TEXT, TEXT, st.integers(0, 10**12)), min_size=1, max_size=20))
def test_rendered_lines_are_read_back_by_a_strict_csv_reader(rows: list[tuple[str, str, int]]) -> None:
    columns = [
        [csv_text.table(row[0] for row in rows)],
        [csv_text.table(row[1] for row in rows)],
        csv_text.money(np.array([row[2] for row in rows])),
        [],
    ]
    text = csv_text.render(columns, len(rows)).decode()
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert read == [[a, b, f"{Decimal(c) / 100:.2f}", ""] for a, b, c in rows]


@given(st.integers(0, 10**9 - 1), st.integers(1, 10))
def test_padded_numbers_have_their_width(number: int, width: int) -> None:
    pieces = csv_text.padded(np.array([number]), width)
    text = csv_text.render([pieces], 1)
    assert text == f"{number % 10**width:0{width}d}\n".encode()


def test_negative_amounts_and_nul_are_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        csv_text.money(np.array([-1]))
    with pytest.raises(ValueError, match="NUL"):
        csv_text.quote("a\0b")


@given(st.integers(0, 2**31), st.integers(0, 5_000))
def test_a_schedule_agrees_with_counting_day_by_day(member: int, last: int) -> None:
    schedule = ChangeSchedule(Streams(3), "test", min_gap=20, max_gap=90, jitter=15)
    ages = np.arange(last + 1)
    versions, latest = schedule.latest(np.full(last + 1, member), ages)
    steps = np.diff(versions)
    assert versions[0] == 0
    assert set(steps) <= {0, 1}
    changes = np.flatnonzero(steps) + 1
    assert (np.diff(changes) >= 20 - 15 + 1).all()
    assert (latest[changes] == changes).all()
    assert last < 200 or len(changes) > 0


def test_random_numbers_do_not_depend_on_what_they_are_drawn_with() -> None:
    stream = Streams(1).lookup("a")
    together = stream.unit(np.arange(1000))
    assert together[537] == stream.unit(537)[0]
    assert together.min() >= 0 and together.max() < 1
    assert together.mean() == pytest.approx(0.5, abs=0.05)
    assert not np.array_equal(together, Streams(1).lookup("b").unit(np.arange(1000)))
    assert not np.array_equal(together, Streams(2).lookup("a").unit(np.arange(1000)))
    versions = stream.unit(np.zeros(1000), np.arange(1000))
    assert len(np.unique(versions)) == 1000


def test_a_mixture_names_each_code_as_often_as_its_share() -> None:
    assert np.bincount(mixture(700, 0, 300)).tolist() == [700, 0, 300]
    with pytest.raises(ValueError, match="must sum to 1000"):
        mixture(500, 400)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Łukasz", "lukasz"), ("Groß", "gross"), ("O'Brien", "obrien"), ("de la Peña", "delapena"), ("李", "x")],
)
def test_names_become_ascii_in_addresses(name: str, expected: str) -> None:
    assert ascii_name(name) == expected
