"""The tests notice mistakes: each mutant of a model is caught by dbt's own tests or by the references.

Of the project with one mistake in it, the model and all that is made from it are built again, with unit tests
and data tests, in a copy of a built warehouse; what passes is compared with the references in pandas.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.settings import PROJECT_DIR, Settings
from tests.conftest import settings_for
from tests.support.reference import BuiltWarehouse, build_shops


@dataclass(frozen=True)
class Mutant:
    """A mistake in a model.

    Attributes:
        model: Its name.
        kind: What sort of mistake it is.
        right: A piece of its code that stands in it once.
        wrong: What stands there instead.
    """

    model: str
    kind: str
    right: str
    wrong: str

    def __str__(self) -> str:
        return f"{self.model}: {self.kind}: {' '.join(self.wrong.split())[:60]}"


MUTANTS = [
    Mutant(**mutant)
    for mutant in tomllib.loads(Path(__file__).with_name("mutants.toml").read_text(encoding="utf-8"))[
        "mutant"
    ]
]
#: Every so many mutants are tried by `--all`, all of them by `--long`.
SAMPLE = MUTANTS[::11]
#: Share of the mutants that has to be caught.
LEAST_CAUGHT = 0.95


class Laboratory:
    """A copy of the project, and of a warehouse built by it, for one mistake after the other."""

    def __init__(self, server: EmbeddedPostgres, built: str, settings: Settings, folder: Path) -> None:
        self.server, self.built, self.settings, self.folder = server, built, settings, folder
        self.project = folder / "dbt"
        shutil.copytree(PROJECT_DIR / "dbt", self.project, ignore=shutil.ignore_patterns("target", "logs"))
        self._parsed = False

    def caught_by(self, mutant: Mutant) -> str | None:
        """What caught a mutant; None when nothing did."""
        (file,) = self.project.rglob(f"{mutant.model}.sql")
        right = file.read_text(encoding="utf-8")
        assert right.count(mutant.right) == 1, f"{mutant}: {right.count(mutant.right)} places"
        self._fresh_database()
        if not self._parsed:  # so that each mutant costs the parsing of one file
            self._dbt("parse")
            self._parsed = True
        file.write_text(right.replace(mutant.right, mutant.wrong), encoding="utf-8")
        try:
            built = self._dbt("build", "--fail-fast", "--select", f"{mutant.model}+")
        finally:
            file.write_text(right, encoding="utf-8")
        if built.returncode:
            found = [line for line in built.stdout.splitlines() if "Failure in" in line or "Error in" in line]
            return f"dbt: {found[0].split('Failure in')[-1].strip() if found else built.stdout[-200:]}"
        return self._references()

    def _references(self) -> str | None:
        done = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist",
                "tests/integration/references",
                "--ignore", "tests/integration/references/test_documentation.py",
            ],
            cwd=PROJECT_DIR, capture_output=True, text=True, check=False,
            env=os.environ | {
                "REFERENCES_PORT": str(self.server.port), "REFERENCES_DATABASE": self.settings.warehouse_db,
            },
        )  # fmt: skip
        if not done.returncode:
            return None
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
        assert failed, done.stdout + done.stderr
        return f"references: {failed[0].split('::')[1].split(' ')[0]}"

    def _fresh_database(self) -> None:
        name = self.settings.warehouse_db
        self.server.execute(f"drop database if exists {name} with (force)")
        self.server.execute(f"create database {name} template {self.built} strategy file_copy")

    def _dbt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                str(Path(sys.executable).with_name("dbt")), "--no-use-colors", *arguments,
                "--project-dir", str(self.project), "--profiles-dir", str(self.project),
                "--target-path", str(self.folder / "target"), "--log-path", str(self.folder / "logs"),
            ],
            env=os.environ | self.settings.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def laboratory(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Laboratory]:
    """The shops of the references, built once, and copied for each mutant."""
    folder = tmp_path_factory.mktemp("mutation")
    built: BuiltWarehouse = build_shops(postgres, template_database, "shops_of_mutants", folder / "built")
    name = built.settings.warehouse_db
    yield Laboratory(postgres, name, settings_for(postgres, "mutant", folder / "home"), folder)
    for database in ("mutant", name):
        postgres.execute(f"drop database if exists {database} with (force)")


@pytest.mark.slow
@pytest.mark.parametrize("mutant", SAMPLE, ids=str)
def test_a_mistake_is_noticed(laboratory: Laboratory, mutant: Mutant) -> None:
    assert laboratory.caught_by(mutant), "nothing noticed it"


@pytest.mark.long
def test_nearly_all_mistakes_are_noticed(laboratory: Laboratory) -> None:
    caught = {}
    for mutant in MUTANTS:
        caught[mutant] = laboratory.caught_by(mutant)
        print(f"{mutant} -> {caught[mutant] or 'SURVIVED'}", flush=True)
    survivors = [str(mutant) for mutant, by in caught.items() if by is None]
    assert len(MUTANTS) >= 40
    assert len(survivors) <= (1 - LEAST_CAUGHT) * len(MUTANTS), "\n".join(survivors)
