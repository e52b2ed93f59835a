"""A warehouse of its own for each module about the marts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.dbt_warehouse import DbtWarehouse, Shop


@pytest.fixture(scope="module")
def shop(built_once: DbtWarehouse) -> Iterator[Shop]:
    """Writes delivered files into a warehouse of the module's own, in which nothing is built yet."""
    yield built_once.reset()
    built_once.close()


@pytest.fixture(scope="module")
def warehouse(built_once: DbtWarehouse, shop: Shop) -> DbtWarehouse:
    """The warehouse that `shop` delivers to."""
    return built_once
