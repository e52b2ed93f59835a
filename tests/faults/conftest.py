"""A warehouse that a whole folder of bad files is loaded into once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecommerce_dw import db
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from tests.conftest import settings_for
from tests.support.loaded import LoadedWarehouse


class Warehouse(LoadedWarehouse):
    """A warehouse with the platform's own contracts, or some of them."""

    def land(self, source: str, path: str, data: bytes) -> Path:
        """Put bytes into a landing zone."""
        file = self.settings.landing(source) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def rows_by_file(self) -> dict[tuple[str, str], int]:
        """Rows in the raw tables by source and path."""
        counts = " union all ".join(
            f"select _file_id, count(*) as rows from raw.{contract.table} group by 1"
            for entities in self.contracts.values()
            for contract in entities.values()
        )
        found = self.query(f"select l.source, l.path, c.rows from ({counts}) as c "
                           "join raw.load_ledger as l on l.file_id = c._file_id")  # fmt: skip
        ((everything,),) = self.query(f"select coalesce(sum(rows), 0) from ({counts}) as c")
        assert sum(rows for *_, rows in found) == everything
        return {(source, path): rows for source, path, rows in found}

    def state(self) -> list[Any]:
        """Everything a load leaves behind but the attempts, without times."""
        tables = [
            f"select '{contract.table}', r::text from raw.{contract.table} as r"
            for entities in self.contracts.values()
            for contract in entities.values()
        ]
        return [
            self.query(" union all ".join(tables) + " order by 1, 2"),
            self.query(
                "select file_id, path, version, is_current, status, rows_read, rows_loaded, rows_rejected, "
                "sha256, load_id, message from raw.load_ledger order by file_id"
            ),
            self.query("select r::text from raw.rejected_rows as r order by rejected_id"),
            self.query("select r::text from raw.removed_keys as r order by 1"),
        ]


@pytest.fixture(scope="module")
def warehouse(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warehouse]:
    """An empty warehouse that the tests of a module share."""
    folder = tmp_path_factory.mktemp("faults")
    database = folder.name.replace("-", "_")
    postgres.execute(f"create database {database} template {template_database} strategy file_copy")
    settings = settings_for(postgres, database, folder)
    owner = db.connect("owner", settings=settings)
    owner.autocommit = True
    yield Warehouse(settings, owner, read_contracts(settings.contracts_dir))
    owner.close()
    postgres.execute(f"drop database {database} with (force)")
