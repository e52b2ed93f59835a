"""One shop of two years at scale 1, made once, read by many tests."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

import shop_simulator
from shop_simulator import Generation

LAST = date(2026, 1, 31)
DAYS = 730


@pytest.fixture(scope="session")
def two_years(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """730 days at scale 1 with seed 42."""
    out = tmp_path_factory.mktemp("two_years")
    return shop_simulator.generate(out, first=LAST - timedelta(days=DAYS - 1), last=LAST)


def _frames(out: Path, entity: str) -> Iterator[pd.DataFrame]:
    for path in sorted((out / entity).glob("dt=*/*.csv")):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        yield frame.assign(file_date=path.parent.name.removeprefix("dt="))


def read_all(out: Path, entity: str) -> pd.DataFrame:
    """All rows of an entity as text, in the order of days, with the file's day as `file_date`."""
    return pd.concat(_frames(out, entity), ignore_index=True)


@pytest.fixture(scope="session")
def customers(two_years: Generation) -> pd.DataFrame:
    return read_all(two_years.out, "customers")


@pytest.fixture(scope="session")
def products(two_years: Generation) -> pd.DataFrame:
    return read_all(two_years.out, "products")


@pytest.fixture(scope="session")
def orders(two_years: Generation) -> pd.DataFrame:
    return read_all(two_years.out, "orders")


@pytest.fixture(scope="session")
def items(two_years: Generation) -> pd.DataFrame:
    return read_all(two_years.out, "order_items")
