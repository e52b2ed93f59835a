"""A warehouse built by dbt for tests: real PostgreSQL, dbt in this process, the project parsed once.

dbt writes the database's name into what it parses, so all examples use one name, and a second one for the
full refresh they are compared with; between examples the databases are made anew from a template.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg2.extensions

from ecommerce_dw import db, runs
from ecommerce_dw.fingerprint import TableFingerprint, fingerprint
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.settings import Settings
from tests.support.raw_rows import RawRows, Row

_run_numbers = itertools.count(1)


class Shop(RawRows):
    """Raw rows with what the loader writes when rows are taken out: `raw.removed_keys`."""

    def load(
        self,
        source: str,
        entity: str,
        date: Any,
        rows: Sequence[Row],
        *,
        part: str = "",
        rejected: Sequence[tuple[int, Row]] = (),
    ) -> int:
        """One more load: a new file, or another version that replaces the earlier rows of its path."""
        path = f"{entity}/dt={date}/{entity}{part}.csv"
        removed = self._touch_keys(source, entity, path)
        file_id = super().load(source, entity, date, rows, part=part, rejected=rejected)
        self._remember(source, entity, removed, file_id)
        return file_id

    def withdraw(self, source: str, entity: str, date: Any, *, part: str = "") -> None:
        """Take a loaded file's rows out: a new version without rows."""
        path = f"{entity}/dt={date}/{entity}{part}.csv"
        removed = self._touch_keys(source, entity, path)
        file_id = super().load(source, entity, date, [], part=part)
        with self.connection.cursor() as cursor:
            cursor.execute("update raw.load_ledger set status = 'withdrawn' where file_id = %s", (file_id,))
        self._remember(source, entity, removed, file_id)

    def _touch_keys(self, source: str, entity: str, path: str) -> list[str]:
        contract = self.contracts[source][entity]
        keys = ", ".join(f"'{column}', r.{column}" for column in contract.touch_keys)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"select jsonb_build_object({keys})::text from raw.{contract.table} as r "
                "join raw.load_ledger as l on l.file_id = r._file_id where l.source = %s and l.path = %s",
                (source, path),
            )
            return [keys for (keys,) in cursor]

    def _remember(self, source: str, entity: str, keys: Sequence[str], file_id: int) -> None:
        with self.connection.cursor() as cursor:
            for key in keys:
                cursor.execute(
                    "insert into raw.removed_keys (load_id, source, entity, keys) "
                    "select load_id, %s, %s, %s from raw.load_ledger where file_id = %s",
                    (source, entity, key, file_id),
                )


@contextlib.contextmanager
def environment(settings: Settings) -> Iterator[None]:
    """The environment variables that dbt's profile reads."""
    before = dict(os.environ)
    os.environ.update(settings.environment())
    for name in ("DBT_TARGET_PATH", "DBT_LOG_PATH"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class DbtDatabase:
    """One database and the project parsed for it.

    Args:
        settings: Of the database.
        folder: dbt's folder.
        manifest: The project, where it is parsed for a database of this name already.
    """

    def __init__(self, settings: Settings, folder: Path, manifest: Any = None) -> None:
        self.settings = settings
        self.folder = folder
        self._manifest = manifest

    def invoke(self, *arguments: str) -> Any:
        """Run dbt in this process; its result as dbtRunner gives it."""
        from dbt.cli.main import dbtRunner

        with environment(self.settings):
            return dbtRunner(manifest=self._manifest).invoke(
                [
                    *arguments,
                    "--project-dir", str(self.settings.dbt_dir),
                    "--profiles-dir", str(self.settings.dbt_dir),
                    "--target-path", str(self.folder / "target"),
                    "--log-path", str(self.folder / "logs"),
                    "--log-level-file", "none",
                    "--no-write-json",
                ]
            )  # fmt: skip

    @property
    def manifest(self) -> Any:
        """The parsed project."""
        return self._manifest

    def parse(self) -> None:
        """Parse the project once; later invocations use it."""
        outcome = self.invoke("--quiet", "parse")
        assert outcome.success, outcome.exception
        self._manifest = outcome.result


class DbtWarehouse:
    """A database that examples work on, and a second one in which it is built in full."""

    def __init__(self, server: EmbeddedPostgres, settings: Settings, full: Settings, folder: Path) -> None:
        self.server = server
        self.incremental = DbtDatabase(settings, folder / "incremental")
        self.full = DbtDatabase(full, folder / "full")
        self.template = f"{settings.warehouse_db}_template"
        self.shop: Shop | None = None

    @property
    def settings(self) -> Settings:
        """Settings of the database that examples work on."""
        return self.incremental.settings

    def prepare(self, migrated: str, *sources: str) -> None:
        """Make the template: migrated, with raw tables, seeds and staging views, warehouse not built."""
        name = self.settings.warehouse_db
        self.server.execute(f"create database {name} template {migrated} strategy file_copy")
        self.incremental.parse()
        self.full.parse()
        with contextlib.closing(self._connect()) as connection:
            Shop(connection, self.settings).create_tables(*sources)
        self.build("seed", select="tag:layer_staging")
        self.build("run", select="tag:layer_staging")
        self._copy(name, self.template)

    def reset(self) -> Shop:
        """Empty raw tables, nothing built; the way to fill the raw tables."""
        self.close()
        self._copy(self.template, self.settings.warehouse_db)
        self.shop = Shop(self._connect(), self.settings)
        return self.shop

    def close(self) -> None:
        """Close the example's connection."""
        if self.shop is not None:
            self.shop.connection.close()

    def freeze(self) -> None:
        """A run whose loading has ended: what was loaded until now is what its models take in."""
        with contextlib.closing(db.connect("owner", settings=self.settings)) as connection:
            run_id = f"test__{next(_run_numbers)}"
            runs.open_run(connection, run_id, business_date=None)
            runs.freeze(connection, run_id)

    def build(
        self,
        command: str = "run",
        *,
        select: str = "tag:layer_warehouse",
        full_refresh: bool = False,
        fails: bool = False,
        database: DbtDatabase | None = None,
    ) -> dict[str, str]:
        """Build; the status of every node by name."""
        arguments = ["--quiet", command, "--select", *select.split(" ")]
        if full_refresh:
            arguments.append("--full-refresh")
        outcome = (database or self.incremental).invoke(*arguments)
        assert outcome.exception is None, outcome.exception
        nodes = {result.node.name: str(result.status) for result in outcome.result.results}
        messages = "\n".join(
            f"{result.node.name}: {result.message}"
            for result in outcome.result.results
            if str(result.status) in ("error", "fail")
        )
        assert outcome.success is not fails, messages or nodes
        return nodes

    def run(self, **options: Any) -> dict[str, str]:
        """A whole run of the warehouse: freeze, then build."""
        self.freeze()
        return self.build(**options)

    def fingerprints(self) -> list[TableFingerprint]:
        """The state of the warehouse's tables."""
        return fingerprint(self.settings, ("warehouse", "intermediate"))

    def full_fingerprints(self) -> list[TableFingerprint]:
        """The state that a full refresh from the same raw rows gives."""
        self.close()  # a database in use cannot be copied
        self._copy(self.settings.warehouse_db, self.full.settings.warehouse_db)
        if self.shop is not None:
            self.shop.connection = self._connect()
        self.build(full_refresh=True, database=self.full)
        return fingerprint(self.full.settings, ("warehouse", "intermediate"))

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with contextlib.closing(self._connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _connect(self) -> psycopg2.extensions.connection:
        connection = db.connect("owner", settings=self.settings)
        connection.autocommit = True
        return connection

    def _copy(self, template: str, name: str) -> None:
        self.server.execute(f"drop database if exists {name} with (force)")
        self.server.execute(f"create database {name} template {template} strategy file_copy")
