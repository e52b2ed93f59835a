"""Installations to lose: a built and published warehouse, or a few tables; beside them a database that stands
for Airflow's metadata."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ecommerce_dw import db
from ecommerce_dw.fingerprint import TableFingerprint, fingerprint
from ecommerce_dw.loading.journal import append
from ecommerce_dw.platform import database
from ecommerce_dw.platform.backup import Backup, back_up
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.platform.restore import Restoration, restore
from ecommerce_dw.publish import publish
from ecommerce_dw.settings import Settings
from tests.conftest import settings_for
from tests.support.dbt_warehouse import DbtWarehouse, Shop
from tests.support.raw_rows import customer
from tests.support.two_shops import load_two_shops

WAREHOUSE, METADATA = "backup_dw", "backup_airflow"


@dataclass
class Site:
    """An installation whose databases may be lost, damaged, and brought back."""

    settings: Settings
    server: EmbeddedPostgres

    def back_up(self, name: str = "a backup") -> Backup:
        return back_up(self.settings, self.folder(name))

    def folder(self, name: str) -> Path:
        return self.settings.home.parent / "backups" / name

    def restore(self, folder: Path, **options: Any) -> Restoration:
        return restore(self.settings, folder, Console(quiet=True), **{"is_agreed": True} | options)

    def fingerprint(self) -> list[TableFingerprint]:
        return fingerprint(self.settings)

    def execute(self, statement: str, *, metadata: bool = False) -> list[tuple[Any, ...]]:
        settings = self.settings.metadata if metadata else self.settings
        with contextlib.closing(database.connect(settings)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def databases(self) -> set[str]:
        """Names of the databases that begin as ours do."""
        return set(names(self.settings))

    def state(self) -> object:
        """All that a restore may change."""
        journal = self.settings.home / "journal" / "decisions.jsonl"
        return (
            self.databases(),
            self.fingerprint(),
            self.execute("select * from dag_run order by 1", metadata=True),
            journal.read_text() if journal.exists() else None,
        )

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """What an analyst is answered."""
        with db.transaction("analyst", settings=self.settings) as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def decide(self, path: str, reason: str) -> None:
        append(self.settings, "discard", "ecommerce", path, "0" * 64, reason=reason)


def drop_databases(server: EmbeddedPostgres, settings: Settings) -> None:
    for name in names(settings):
        server.execute(f'drop database "{name}" with (force)')


def names(settings: Settings) -> list[str]:
    with (
        contextlib.closing(database.connect(settings, "postgres")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("select datname from pg_database where datname ~ '^backup_'")
        return [name for (name,) in cursor.fetchall()]


@pytest.fixture(scope="module")
def built(built_once: DbtWarehouse) -> str:
    """Name of a database with both shops, built and published."""
    load_two_shops(built_once.reset())
    built_once.run(select="tag:layer_warehouse tag:layer_marts")
    publish(built_once.settings)
    built_once.close()
    return built_once.settings.warehouse_db


MakeSite = Callable[[Path, str], Site]


@pytest.fixture(scope="module")
def make_site(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeSite]:
    """Makes an installation in a folder, its warehouse copied from a database; the one before is gone."""
    anywhere = settings_for(postgres, template_database, tmp_path_factory.mktemp("anywhere"))

    def make(folder: Path, template: str) -> Site:
        settings = settings_for(
            postgres, WAREHOUSE, folder / "home", airflow_db=METADATA, backup_dir=folder / "backups"
        )
        drop_databases(postgres, anywhere)
        postgres.execute(f"create database {WAREHOUSE} template {template} strategy file_copy")
        # What is of the database itself is not copied with a template.
        for name, value in (
            ("search_path", "masked, marts, warehouse, public"),
            ("default_transaction_read_only", "on"),
        ):
            postgres.execute(f"alter role analyst in database {WAREHOUSE} set {name} to {value}")
        for role in ("loader", "transformer", "analyst"):
            postgres.execute(f"grant connect on database {WAREHOUSE} to {role}")
        postgres.execute(f"create database {METADATA}")
        site = Site(settings, postgres)
        site.execute(
            """
            create table alembic_version (version_num text);
            insert into alembic_version values ('abc123');
            create table dag_run (id bigint generated always as identity primary key, run_id text, conf json);
            insert into dag_run (run_id, conf) values ('scheduled__1', '{"a": 1}'), ('scheduled__2', null);
            """,
            metadata=True,
        )
        return site

    yield make
    drop_databases(postgres, anywhere)


@pytest.fixture
def built_site(make_site: MakeSite, built: str, tmp_path: Path) -> Site:
    """An installation with everything dbt builds."""
    return make_site(tmp_path, built)


@pytest.fixture(scope="session")
def few_tables(postgres: EmbeddedPostgres, template_database: str) -> str:
    """Name of a database with a raw table, a fact and a mart: as good where their content does not matter."""
    name = "few_tables"
    postgres.execute(f"create database {name} template {template_database} strategy file_copy")
    settings = settings_for(postgres, name, Path("/nonexistent"))
    with contextlib.closing(db.connect(settings=settings)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        shop = Shop(connection, settings)
        shop.create_tables("ecommerce")
        shop.load("ecommerce", "customers", "2026-03-01", [customer("C1", "2026-03-01 12:00:00+00")])
        cursor.execute(
            """
            set role transformer;
            create table warehouse.fact_orders as
                select n as order_id, n * 1.50 as total from generate_series(1, 50) as n;
            create table ops.of_the_transformer (id int);
            reset role;
            create table marts.sales_summary as select sum(total) as gross from warehouse.fact_orders;
            alter table marts.sales_summary owner to publisher;
            grant select on marts.sales_summary to transformer;
            """
        )
    return name


@pytest.fixture
def site(make_site: MakeSite, few_tables: str, tmp_path: Path) -> Site:
    """An installation with a few tables."""
    return make_site(tmp_path, few_tables)
