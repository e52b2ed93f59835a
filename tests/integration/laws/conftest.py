"""The database that lives of the shop are led in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ecommerce_dw.platform.postgres import EmbeddedPostgres
from tests.support.dbt_warehouse import DbtWarehouse
from tests.support.shop_life import LawsDatabase


@pytest.fixture(scope="module")
def database(
    postgres: EmbeddedPostgres,
    template_database: str,
    built_once: DbtWarehouse,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LawsDatabase]:
    """The database that lives are led in, one after the other."""
    folder = tmp_path_factory.mktemp("laws")
    made = LawsDatabase(postgres, template_database, built_once.incremental, folder)
    yield made
    made.close()
