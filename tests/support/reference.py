"""What a mart should hold, worked out again in pandas from the star schema: no SQL, no states, no macros.

That the star schema itself is right is proven from the files (`tests/support/shop_truth.py`, the laws).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecommerce_dw import db, pipeline
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.settings import PROJECT_DIR, Settings
from ecommerce_dw.transform import LAYERS
from shop_simulator import generate
from tests.conftest import settings_for

#: A shop of 17 months, so that months, years and long windows all have something in them.
FIRST, LAST = dt.date(2024, 9, 19), dt.date(2026, 1, 31)

#: Money is compared as whole ten-thousandths: integers are exact, and sums of them too.
UNITS = 10_000


class BuiltWarehouse:
    """A built warehouse as data frames.

    Columns of type numeric(18,4) come as whole ten-thousandths (Int64), other numerics as float64, counts as
    Int64, dates as datetime64, timestamps as UTC datetimes; nulls as pandas' missing values.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def frame(self, table: str, *, source: str | None = None) -> pd.DataFrame:
        """A whole table of schema warehouse, or (by its bare name, where no such table is) of marts_build.

        Args:
            table: Its name.
            source: Rows of this source alone; None means all.
        """
        schemas = self.rows(
            "select table_schema from information_schema.tables where table_name = %s "
            "and table_schema in ('warehouse', 'marts_build') order by table_schema desc",
            table,
        )
        assert schemas, f"no table {table}"
        schema = schemas[0][0]
        columns = self.rows(
            "select column_name, data_type, numeric_precision, numeric_scale "
            "from information_schema.columns where table_schema = %s and table_name = %s "
            "order by ordinal_position",
            schema, table,
        )  # fmt: skip
        query = f"select * from {schema}.{table}"
        rows = self.rows(query) if source is None else self.rows(f"{query} where source_system = %s", source)
        frame = pd.DataFrame(rows, columns=[name for name, *_ in columns], dtype="object")
        for name, type_, precision, scale in columns:
            frame[name] = _typed(frame[name], type_, (precision, scale))
        return frame

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query, as the owner."""
        with db.transaction("owner", settings=self.settings) as cursor:
            cursor.execute(query, values or None)
            return cursor.fetchall()

    def as_of(self, source: str) -> pd.Timestamp:
        """The greatest business date among the source's loaded files."""
        rows = self.rows(
            "select as_of_date from intermediate.int_source_as_of where source_system = %s", source
        )
        assert rows, f"nothing of {source} is loaded"
        return pd.Timestamp(rows[0][0])


def assert_same(
    mart: pd.DataFrame,
    expected: pd.DataFrame,
    keys: Sequence[str],
    columns: Sequence[str] | None = None,
    tolerance: float = 1e-9,
) -> None:
    """Both hold the same rows: integers, text and dates exactly, floats within `tolerance`.

    Args:
        mart: What the warehouse says.
        expected: What the reference says; not empty.
        keys: The grain.
        columns: What is compared; None means every column of `expected`.
        tolerance: Greatest difference of two floats, absolute.
    """
    columns = [c for c in (columns or expected.columns) if c not in keys]
    assert len(expected), "the reference is empty: it would prove nothing"
    both = mart[[*keys, *columns]].merge(
        expected[[*keys, *columns]],
        on=list(keys), how="outer", suffixes=("_mart", "_expected"), indicator=True, validate="1:1",
    )  # fmt: skip
    lonely = both[both["_merge"] != "both"]
    assert lonely.empty, f"rows of one side only:\n{lonely[[*keys, '_merge']].head(10)}"
    for column in columns:
        left, right = both[f"{column}_mart"], both[f"{column}_expected"]
        if pd.api.types.is_float_dtype(left) or pd.api.types.is_float_dtype(right):
            near = (left.astype("float64") - right.astype("float64")).abs() <= tolerance
            same = near | (left.isna() & right.isna())
        else:
            same = (left == right).fillna(False).astype(bool) | (left.isna() & right.isna())
        wrong = both[~same.astype(bool)]
        assert wrong.empty, (
            f"{column}: {len(wrong)} of {len(both)} rows differ:\n"
            f"{wrong[[*keys, f'{column}_mart', f'{column}_expected']].head(10)}"
        )


def _typed(values: pd.Series, type_: str, numeric: tuple[int | None, int | None]) -> pd.Series:
    if type_ == "numeric" and numeric == (18, 4):
        return pd.Series(
            [pd.NA if value is None else int(value * UNITS) for value in values],
            index=values.index,
            dtype="Int64",
        )
    if type_ == "numeric":
        return pd.Series(
            [float("nan") if value is None else float(value) for value in values],
            index=values.index, dtype="float64",
        )  # fmt: skip
    if type_ in ("integer", "bigint", "smallint"):
        return values.astype("Int64")
    if type_ == "boolean":
        return values.astype("boolean")
    if type_ == "date":
        return _dates(values)
    if type_ == "timestamp with time zone":
        return pd.to_datetime(values, utc=True)
    return values


def _dates(values: pd.Series) -> pd.Series:
    # -infinity and infinity come as the least and greatest date there is
    assert not values.map(lambda value: isinstance(value, Decimal)).any()
    known = values.map(lambda value: None if value in (None, dt.date.min, dt.date.max) else value)
    return pd.to_datetime(known)


def build_shops(server: EmbeddedPostgres, template: str, database: str, folder: Path) -> BuiltWarehouse:
    """Load, build and publish three shops: the simulated one, six days of the real one, a plain sales file.

    Args:
        server: Where the database is made.
        template: A migrated, empty warehouse.
        database: Its name.
        folder: For the files.
    """
    server.execute(f"create database {database} template {template} strategy file_copy")
    settings = settings_for(server, database, folder / "home")
    generate(folder / "ecommerce", first=FIRST, last=LAST, scale=0.3)
    _write_sales(folder / "sales" / "sales.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANDING_ECOMMERCE", str(folder / "ecommerce"))
        patch.setenv("LANDING_ONLINE_RETAIL", str(PROJECT_DIR / "tests" / "data" / "online_retail"))
        patch.setenv("LANDING_SALES", str(folder / "sales"))
        pipeline.load_step(run_id="references", business_date=None, settings=settings)
        for layer in LAYERS:
            pipeline.build_step(layer, run_id="references", settings=settings)
        pipeline.publish_step(run_id="references", settings=settings)
    return BuiltWarehouse(settings)


def _write_sales(file: Path) -> None:
    file.parent.mkdir()
    random = np.random.default_rng(3)
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=int(day)) for day in random.integers(0, 700, 1500)]
    customers = np.minimum(random.zipf(1.5, 1500), 300)
    amounts = random.integers(300, 20_000, 1500) / 100
    lines = [
        f"{day},C{customer},{number},{amount:.2f}\n"
        for number, (day, customer, amount) in enumerate(zip(days, customers, amounts, strict=True))
    ]
    file.write_text("Date,Customer ID,Order ID,Sales\n" + "".join(lines), encoding="utf-8")
