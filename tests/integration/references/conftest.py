"""One built warehouse of three shops that all references read: made once, changed by no test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.settings import Settings
from tests.support.reference import BuiltWarehouse, build_shops


@pytest.fixture(scope="session")
def built_shops(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BuiltWarehouse]:
    """The shops, built; or, where tests/mutation names a database of its own in the environment, that one."""
    if "REFERENCES_DATABASE" in os.environ:
        yield BuiltWarehouse(
            Settings(
                _env_file=None,
                warehouse_port=int(os.environ["REFERENCES_PORT"]),
                warehouse_db=os.environ["REFERENCES_DATABASE"],
                ecommerce_dw_home=tmp_path_factory.mktemp("references"),
            )
        )
        return
    server: EmbeddedPostgres = request.getfixturevalue("postgres")
    template: str = request.getfixturevalue("template_database")
    folder: Path = tmp_path_factory.mktemp("references")
    yield build_shops(server, template, "shops_of_references", folder)
    server.execute("drop database shops_of_references with (force)")
