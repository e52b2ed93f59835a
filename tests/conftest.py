"""Fixtures for every test: a real PostgreSQL 18, and databases of their own in it."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest
from xdist.scheduler import LoadFileScheduling

from ecommerce_dw import db
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port, reachable_folder
from ecommerce_dw.settings import Settings

TEMPLATE = "template_ecommerce_dw"

#: Folders whose tests share a warehouse that is dear to build.
SHARED = ("tests/integration/references/", "tests/faults/runs/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Files run side by side; those that share a warehouse one after the other, so that it is built once."""

    class LoadFileOrFolder(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in SHARED if nodeid.startswith(folder)), nodeid.split("::", 1)[0])

    return LoadFileOrFolder(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the tests that passed have counted: kills by step and kind, secrets found, and so on."""
    reports = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport)
    ]
    passed = {report.nodeid for report in reports if report.when == "call" and report.passed}
    figures: dict[str, Counter[str]] = {}
    for report in reports:
        if report.when == "teardown" and report.nodeid in passed:
            for name, value in report.user_properties:
                if name == "figure":
                    title, item, count = value
                    figures.setdefault(title, Counter())[item] += count
    for title, items in sorted(figures.items()):
        terminalreporter.section(title)
        for item, count in sorted(items.items()):
            terminalreporter.write_line(f"{item:60}{count:12,.{0 if isinstance(count, int) else 1}f}")


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Counts for the tables at the end of the tests: `figure(title of the table, line of it, count=1)`."""

    def count(title: str, item: str, count: float = 1) -> None:
        request.node.user_properties.append(("figure", (title, item, count)))

    return count


@pytest.fixture(autouse=True)
def _count_fault(request: pytest.FixtureRequest, figure: Callable[..., None]) -> None:
    """A test marked `fault(kind)` is a line of the table of faults."""
    for mark in request.node.iter_markers("fault"):
        figure("faults by kind", mark.args[0])


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL of this test session (of this worker, under xdist)."""
    folder = reachable_folder(tmp_path_factory.mktemp("postgres") / "server")
    server = EmbeddedPostgres(
        folder,
        free_port(),
        settings=(("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off")),
    )
    server.start()
    try:
        yield server
    finally:
        server.remove()


def settings_for(server: EmbeddedPostgres, database: str, home: Path, **values: object) -> Settings:
    """Settings that point at a database of the test server and at a folder of the test's own."""
    return Settings(
        _env_file=None,
        **{
            "ecommerce_dw_home": home,
            "warehouse_port": server.port,
            "warehouse_db": database,
            "lock_wait_seconds": 20.0,
            "table_lock_wait_seconds": 5.0,
        }
        | values,
    )


@pytest.fixture(scope="session")
def template_database(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated, empty warehouse that other databases are copied from."""
    postgres.execute(f"create database {TEMPLATE}")
    migrate(settings_for(postgres, TEMPLATE, tmp_path_factory.mktemp("template")))
    return TEMPLATE


_numbers = itertools.count(1)


@pytest.fixture
def make_settings(
    postgres: EmbeddedPostgres, template_database: str, tmp_path: Path
) -> Iterator[Callable[..., Settings]]:
    """Makes an empty, migrated warehouse at each call and returns the settings that point at it."""
    made: list[str] = []

    def make(**values: object) -> Settings:
        name = f"test_{os.getpid()}_{next(_numbers)}"
        postgres.execute(f"create database {name} template {template_database} strategy file_copy")
        # Role settings are per database and are not copied with a template.
        postgres.execute(
            f"alter role analyst in database {name} set search_path to masked, marts, warehouse, public"
        )
        made.append(name)
        return settings_for(postgres, name, tmp_path / "home", **values)

    yield make
    for name in made:
        postgres.execute(f"drop database {name} with (force)")


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Settings of an empty, migrated warehouse of the test's own."""
    return make_settings()


@pytest.fixture
def owner(settings: Settings) -> Iterator[psycopg2.extensions.connection]:
    """A connection of the warehouse's owner, in autocommit."""
    connection = db.connect("owner", settings=settings)
    connection.autocommit = True
    yield connection
    connection.close()
