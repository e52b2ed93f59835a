"""A warehouse into which files are loaded and whose staging is built by dbt."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecommerce_dw import db
from ecommerce_dw.loading import load
from ecommerce_dw.settings import PROJECT_DIR, Settings
from tests.support.dbt_warehouse import environment

SMALL = PROJECT_DIR / "tests" / "data" / "online_retail"


class Staging:
    """One database: load into it, build staging, ask it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder

    def dbt(self, *arguments: str, project: Path | None = None) -> Any:
        """Run dbt in this process; fails the test when dbt fails."""
        from dbt.cli.main import dbtRunner

        folder = project or self.settings.dbt_dir
        with environment(self.settings):
            outcome = dbtRunner().invoke(
                [
                    "--quiet",
                    *arguments,
                    "--project-dir", str(folder),
                    "--profiles-dir", str(folder),
                    "--target-path", str(self.folder / "target"),
                    "--log-path", str(self.folder / "logs"),
                ]
            )  # fmt: skip
        assert outcome.success, outcome.exception or [
            f"{result.node.name}: {result.message}"
            for result in outcome.result.results
            if str(result.status) in ("error", "fail")
        ]
        return outcome

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query, as the owner."""
        with contextlib.closing(db.connect("owner", settings=self.settings)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()


@pytest.fixture
def make_staging(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Staging]:
    """Makes a warehouse with the files of these landing folders loaded; `{source: folder}`."""

    def make(landing: dict[str, Path], **values: object) -> Staging:
        settings = make_settings(**values)
        for source, folder in landing.items():
            monkeypatch.setenv(f"LANDING_{source.upper()}", str(folder))
        summary = load(settings)
        assert summary.files_refused == summary.files_failed == summary.rows_rejected == 0
        return Staging(settings, tmp_path / "dbt")

    return make
