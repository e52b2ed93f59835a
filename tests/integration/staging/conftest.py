"""A warehouse into which files are loaded and whose staging is built by dbt."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecommerce_dw import db
from ecommerce_dw.loading import load
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.settings import PROJECT_DIR, Settings
from tests.conftest import settings_for
from tests.support.dbt_warehouse import DbtDatabase, DbtWarehouse, environment

SMALL = PROJECT_DIR / "tests" / "data" / "online_retail"


class Staging:
    """One database: load into it, build staging, ask it."""

    def __init__(self, settings: Settings, folder: Path, parsed: DbtDatabase) -> None:
        self.settings = settings
        self.folder = folder
        self.parsed = parsed

    def dbt(self, *arguments: str, project: Path | None = None) -> Any:
        """Run dbt in this process; fails the test when dbt fails.

        Args:
            project: Folder of another project than ours, which is parsed anew.
        """
        from dbt.cli.main import dbtRunner

        if project is None:
            outcome = self.parsed.invoke("--quiet", *arguments)
            assert outcome.success, outcome.exception or _problems(outcome)
            return outcome

        with environment(self.settings):
            outcome = dbtRunner().invoke(
                [
                    "--quiet",
                    *arguments,
                    "--project-dir", str(project),
                    "--profiles-dir", str(project),
                    "--target-path", str(self.folder / "target"),
                    "--log-path", str(self.folder / "logs"),
                ]
            )  # fmt: skip
        assert outcome.success, outcome.exception or _problems(outcome)
        return outcome

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query, as the owner."""
        with contextlib.closing(db.connect("owner", settings=self.settings)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()


def _problems(outcome: Any) -> list[str]:
    return [
        f"{result.node.name}: {result.message}"
        for result in outcome.result.results
        if str(result.status) in ("error", "fail")
    ]


@pytest.fixture
def make_staging(
    built_once: DbtWarehouse,
    postgres: EmbeddedPostgres,
    template_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Staging]:
    """Makes a warehouse with the files of these landing folders loaded; `{source: folder}`.

    It is the database that the project is parsed for, empty and migrated: the name of a database is in what
    dbt parses.
    """

    def make(landing: dict[str, Path], **values: object) -> Staging:
        name = built_once.settings.warehouse_db
        built_once.close()
        postgres.execute(f"drop database if exists {name} with (force)")
        postgres.execute(f"create database {name} template {template_database} strategy file_copy")
        settings = settings_for(postgres, name, tmp_path / "home", **values)
        for source, folder in landing.items():
            monkeypatch.setenv(f"LANDING_{source.upper()}", str(folder))
        summary = load(settings)
        assert summary.files_refused == summary.files_failed == summary.rows_rejected == 0
        return Staging(settings, tmp_path / "dbt", built_once.incremental)

    return make
