"""A warehouse of its own for each example of the laws."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.dbt_warehouse import DbtWarehouse, Shop


@pytest.fixture
def shop(built_once: DbtWarehouse) -> Iterator[Shop]:
    """Writes delivered files into a warehouse of its own, in which nothing is loaded and nothing built."""
    yield built_once.reset()
    built_once.close()


@pytest.fixture
def warehouse(built_once: DbtWarehouse, shop: Shop) -> DbtWarehouse:
    """The warehouse that `shop` delivers to."""
    return built_once
