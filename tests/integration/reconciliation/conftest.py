"""A small warehouse of both shops with every kind of difference, built once; every test gets a copy."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecommerce_dw import db
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.loading import load
from ecommerce_dw.loading.decisions import discard, withdraw
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.publish import publish
from ecommerce_dw.reconciliation import Finding, Plan, findings, measure, taken_in, whole
from ecommerce_dw.runs import freeze, open_run
from ecommerce_dw.settings import Settings
from tests.conftest import settings_for
from tests.integration.reconciliation.shop import FIRST, SECOND
from tests.support.dbt_warehouse import DbtDatabase
from tests.support.landing import land_whole

RUN = "run-1"
_numbers = itertools.count(1)


class Warehouse:
    """A built and published warehouse of a test's own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.contracts = read_contracts(settings.contracts_dir)

    def execute(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as the owner, each committed; the rows of the last one."""
        with contextlib.closing(db.connect("owner", settings=self.settings)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []

    def reconcile(self, plan: Plan | None = None, *, reads_files: bool = False) -> list[Finding]:
        """Measure everything, or what a plan names."""
        with contextlib.closing(db.connect("transformer", settings=self.settings)) as connection:
            measurement = measure(
                self.settings,
                self.contracts,
                plan or whole(self.contracts),
                run_id="test",
                upto=taken_in(connection),
                reads_files=reads_files,
            )
            return findings(connection, measurement)

    def table(self) -> list[tuple[object, ...]]:
        """What `ops.reconciliation` and its differences say, without who said it when."""
        return self.execute(
            """
            select source_system, entity, business_date, from_object, to_object, measure, null as name,
                value_from, value_to, explained, unexplained, mismatches
            from ops.reconciliation
            union all
            select source_system, entity, business_date, from_object, to_object, measure, name, value,
                row_count, null, null, null
            from ops.reconciliation_differences
            order by 1, 2, 3, 4, 5, 6, 7
            """
        )


def land(settings: Settings, source: str, path: str, content: str) -> None:
    """Put a file into the landing zone, whole at once."""
    land_whole(settings.landing(source) / path, content.encode())


@pytest.fixture(scope="session")
def reconciled_shop(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The database that tests copy, and its home with the landed files."""
    name, home = f"reconciled_{os.getpid()}", tmp_path_factory.mktemp("reconciled")
    postgres.execute(f"create database {name} template {template_database} strategy file_copy")
    settings = settings_for(postgres, name, home)
    for files in (FIRST, SECOND):
        for (source, path), content in files.items():
            land(settings, source, path, content)
        load(settings)
    discard(settings, "payments/dt=2026-03-04/payments.csv")
    withdraw(settings, "marketing_spend/dt=2026-03-02/marketing_spend.csv")
    with contextlib.closing(db.connect("owner", settings=settings)) as connection:
        open_run(connection, RUN, business_date=dt.date(2026, 3, 4))
        freeze(connection, RUN)
    dbt = DbtDatabase(settings, home / "dbt")
    dbt.parse()
    for command in (["seed"], ["run", "--exclude", "flagged_rows+"]):
        outcome = dbt.invoke("--quiet", *command)
        assert outcome.success, outcome.exception or [
            f"{r.node.name}: {r.message}"
            for r in outcome.result.results
            if str(r.status) in ("error", "fail")
        ]
    publish(settings, run_id=RUN)
    return name, home


@pytest.fixture
def warehouse(
    postgres: EmbeddedPostgres, reconciled_shop: tuple[str, Path], tmp_path: Path
) -> Iterator[Warehouse]:
    """A built warehouse of the test's own, with a landing zone of its own."""
    template, home = reconciled_shop
    name = f"reconciled_{os.getpid()}_{next(_numbers)}"
    postgres.execute(f"create database {name} template {template} strategy file_copy")
    shutil.copytree(home / "landing", tmp_path / "home" / "landing")
    yield Warehouse(settings_for(postgres, name, tmp_path / "home"))
    postgres.execute(f"drop database {name} with (force)")
