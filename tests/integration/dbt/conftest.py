"""One parsed project and one template database for all examples of the warehouse's laws."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ecommerce_dw.platform.postgres import EmbeddedPostgres
from tests.conftest import settings_for
from tests.support.dbt_warehouse import DbtWarehouse, Shop


@pytest.fixture(scope="session")
def built_once(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> DbtWarehouse:
    """The project parsed and the template made."""
    folder = tmp_path_factory.mktemp("dbt")
    warehouse = DbtWarehouse(
        postgres,
        settings_for(postgres, "dbt_laws", folder),
        settings_for(postgres, "dbt_laws_full", folder),
        folder,
    )
    warehouse.prepare(template_database, "ecommerce", "online_retail")
    return warehouse


@pytest.fixture
def shop(built_once: DbtWarehouse) -> Iterator[Shop]:
    """Writes delivered files into a warehouse of its own, in which nothing is loaded and nothing built."""
    yield built_once.reset()
    built_once.close()


@pytest.fixture
def warehouse(built_once: DbtWarehouse, shop: Shop) -> DbtWarehouse:
    """The warehouse that `shop` delivers to."""
    return built_once
