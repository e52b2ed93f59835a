"""One parsed project and one template database for all examples of the marts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ecommerce_dw.platform.postgres import EmbeddedPostgres
from tests.conftest import settings_for
from tests.support.dbt_warehouse import DbtWarehouse, Shop


@pytest.fixture(scope="session")
def marts_once(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> DbtWarehouse:
    """The project parsed and the template made."""
    folder = tmp_path_factory.mktemp("dbt_marts")
    warehouse = DbtWarehouse(
        postgres,
        settings_for(postgres, "dbt_marts", folder),
        settings_for(postgres, "dbt_marts_full", folder),
        folder,
    )
    warehouse.prepare(template_database, "ecommerce", "online_retail")
    return warehouse


@pytest.fixture(scope="module")
def shop(marts_once: DbtWarehouse) -> Iterator[Shop]:
    """Writes delivered files into a warehouse of the module's own, in which nothing is built yet."""
    yield marts_once.reset()
    marts_once.close()


@pytest.fixture(scope="module")
def warehouse(marts_once: DbtWarehouse, shop: Shop) -> DbtWarehouse:
    """The warehouse that `shop` delivers to."""
    return marts_once
