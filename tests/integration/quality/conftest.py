"""A small warehouse of both shops, built once by dbt; every test gets a copy of its own."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ecommerce_dw import db
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.quality import ValidationSummary, validate
from ecommerce_dw.quality.model import Checkpoint
from ecommerce_dw.runs import freeze, open_run
from ecommerce_dw.settings import Settings
from tests.conftest import settings_for
from tests.support.dbt_warehouse import DbtDatabase
from tests.support.raw_rows import RawRows
from tests.support.two_shops import load_two_shops

RUN = "run-1"
_numbers = itertools.count(1)


@dataclass
class Warehouse:
    """A built warehouse of a test's own."""

    settings: Settings
    owner: db.Connection

    def execute(self, *statements: str) -> None:
        """Run statements as the owner, each committed."""
        with self.owner.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.owner.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def loosen(self, table: str) -> None:
        """Drop what keeps a table sound: constraints and unique indexes."""
        with self.owner.cursor() as cursor:
            cursor.execute(
                """
                -- a primary key first: it holds its columns' not null
                select contype <> 'p',
                    format('alter table %%s drop constraint %%I', conrelid::regclass, conname)
                from pg_constraint where conrelid = %(table)s::regclass
                union all
                select true, format('drop index %%s', indexrelid::regclass)
                from pg_index as i
                where indrelid = %(table)s::regclass and indisunique
                    and not exists (select from pg_constraint as c where c.conindid = i.indexrelid)
                order by 1
                """,
                {"table": table},
            )
            for _, statement in cursor.fetchall():
                cursor.execute(statement)

    def failed(self, checkpoint: Checkpoint, run_id: str = RUN) -> list[str]:
        """Names of the expectations that do not hold."""
        return [r.name for r in self.validate(checkpoint, run_id).results if not r.is_success]

    def validate(self, checkpoint: Checkpoint, run_id: str = RUN) -> ValidationSummary:
        """Run a checkpoint."""
        return validate(self.settings, checkpoint, run_id)


@pytest.fixture(scope="session")
def built(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The database that tests copy, and the folder dbt worked in."""
    name = f"quality_built_{os.getpid()}"
    home = tmp_path_factory.mktemp("quality_built")
    postgres.execute(f"create database {name} template {template_database} strategy file_copy")
    settings = settings_for(postgres, name, home)
    connection = db.connect("owner", settings=settings)
    try:
        connection.autocommit = True
        raw = RawRows(connection, settings)
        raw.create_tables("ecommerce", "online_retail", "sales")
        load_two_shops(raw)
        connection.autocommit = False
        open_run(connection, RUN, business_date=dt.date(2026, 3, 6))
        freeze(connection, RUN)
    finally:
        connection.close()
    dbt = DbtDatabase(settings, home / "dbt")
    dbt.parse()
    for command in ("seed", "run"):
        outcome = dbt.invoke("--quiet", command)
        assert outcome.success, outcome.exception or [r.message for r in outcome.result.results]
    return name, home


@pytest.fixture
def warehouse(postgres: EmbeddedPostgres, built: tuple[str, Path], tmp_path: Path) -> Iterator[Warehouse]:
    """A built warehouse of the test's own."""
    name = f"quality_{os.getpid()}_{next(_numbers)}"
    postgres.execute(f"create database {name} template {built[0]} strategy file_copy")
    settings = settings_for(postgres, name, tmp_path / "home")
    connection = db.connect("owner", settings=settings)
    connection.autocommit = True
    yield Warehouse(settings, connection)
    connection.close()
    postgres.execute(f"drop database {name} with (force)")
