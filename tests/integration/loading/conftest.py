"""A landing zone and contracts of the tests' own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest

from ecommerce_dw import db
from ecommerce_dw.settings import Settings
from tests.integration.loading.shop import HEADER, LINES, PRODUCTS
from tests.support.landing import land_whole
from tests.support.loaded import LoadedWarehouse


class Shop(LoadedWarehouse):
    """A landing zone, and short ways to say what happens to it and to ask what came of it."""

    def __init__(self, settings: Settings, owner: psycopg2.extensions.connection) -> None:
        super().__init__(settings, owner, {"shop": {"products": PRODUCTS, "lines": LINES}})
        self.landing = settings.landing("shop")

    def land(self, path: str, content: str | bytes, *, header: str | None = HEADER) -> Path:
        """Put a file into the landing zone, whole at once."""
        data = content.encode() if isinstance(content, str) else content
        if header is not None:
            data = header.encode() + b"\n" + data
        return self.land_bytes(path, data)

    def land_bytes(self, path: str, data: bytes) -> Path:
        """Put bytes into the landing zone, whole at once."""
        return land_whole(self.landing / path, data)

    def loader_connection(self) -> psycopg2.extensions.connection:
        """A connection as the loader's role, closed with the test's database."""
        return db.connect("loader", settings=self.settings)

    def indexes(self, table: str) -> list[str]:
        """Names of a raw table's indexes."""
        return [
            row[0]
            for row in self.query(
                "select indexname from pg_indexes where schemaname = 'raw' and tablename = %s order by 1",
                table,
            )
        ]

    def products(self) -> list[tuple[Any, ...]]:
        """The loaded products: id, name, price, and the line they stood on."""
        return self.query(
            "select product_id, product_name, price, _line_number from raw.shop__products "
            'order by product_id collate "C", _file_id, _line_number'
        )

    def reasons(self) -> dict[int, list[str]]:
        """Reasons of the rejected rows by line."""
        return dict(self.query("select line_number, reasons from raw.rejected_rows order by rejected_id"))

    def ledger(self) -> list[tuple[Any, ...]]:
        """The ledger: path, version, status, rows read, loaded, rejected."""
        return self.query(
            "select path, version, status, rows_read, rows_loaded, rows_rejected from raw.load_ledger "
            'order by path collate "C", version'
        )


def day(number: int) -> str:
    """Path of the products file of a day of January 2026."""
    return f"products/dt={dt.date(2026, 1, number)}/products.csv"


@pytest.fixture
def shop(settings: Settings, owner: psycopg2.extensions.connection) -> Shop:
    """An empty landing zone and an empty warehouse."""
    return Shop(settings, owner)


@pytest.fixture
def make_shop(make_settings: Callable[..., Settings]) -> Callable[[], Shop]:
    """Makes shops with a warehouse of their own each; they share the landing zone."""

    def make() -> Shop:
        settings = make_settings()
        connection = db.connect("owner", settings=settings)
        connection.autocommit = True
        return Shop(settings, connection)

    return make
