"""One parsed project and one template database for all examples that dbt builds."""

from __future__ import annotations

import pytest

from ecommerce_dw.platform.postgres import EmbeddedPostgres
from tests.conftest import settings_for
from tests.support.dbt_warehouse import DbtWarehouse


@pytest.fixture(scope="session")
def built_once(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> DbtWarehouse:
    """The project parsed and the template made: as slow as several examples, so once per session."""
    folder = tmp_path_factory.mktemp("dbt")
    warehouse = DbtWarehouse(
        postgres,
        settings_for(postgres, "dbt_examples", folder),
        settings_for(postgres, "dbt_examples_full", folder),
        folder,
    )
    warehouse.prepare(template_database, "ecommerce", "online_retail", "sales")
    return warehouse
