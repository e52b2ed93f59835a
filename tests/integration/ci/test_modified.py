"""`.ci/modified.py`, as the forge calls it: keep a state, change the project, build what differs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ecommerce_dw.settings import PROJECT_DIR

SCRIPT = PROJECT_DIR / ".ci" / "modified.py"
MODEL = "models/marts/sales/fulfilment_performance.sql"

pytestmark = pytest.mark.slow


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script in the tests' environment; its output is one text."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state") / "last-good"
    done = call("keep", folder)
    assert done.returncode == 0, done.stdout
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "warehouse.dump"}
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the dbt project, to be changed."""
    return shutil.copytree(
        PROJECT_DIR / "dbt", tmp_path / "dbt", ignore=shutil.ignore_patterns("target", "logs")
    )


def built(output: str) -> set[str]:
    """The models that a dbt build reports as built."""
    return set(re.findall(r"OK created sql incremental model \w+\.(\w+)", output))


def test_nothing_is_built_where_nothing_differs(state: Path) -> None:
    done = call("build", state)
    assert done.returncode == 0, done.stdout
    assert "'state:modified+' does not match any enabled nodes" in done.stdout


def test_a_changed_model_and_what_depends_on_it_are_built_on_the_kept_warehouse(
    state: Path, project: Path
) -> None:
    model = project / MODEL
    model.write_text(model.read_text() + "\n-- the same rows\n")
    done = call("build", state, "--project-dir", project)
    assert done.returncode == 0, done.stdout
    assert built(done.stdout) == {"fulfilment_performance", "executive_kpis"}
    # it compares with the facts, which nobody built here: they are the kept ones
    assert "PASS fulfilment_counts_every_order_once" in done.stdout


def test_a_change_that_breaks_a_test_fails(state: Path, project: Path) -> None:
    model = project / MODEL
    model.write_text(model.read_text().rstrip() + " limit 0\n")
    done = call("build", state, "--project-dir", project)
    assert done.returncode == 1, done.stdout
    assert re.search(r"FAIL 1 fulfilment_performance::\w+", done.stdout), done.stdout
    assert "SKIP relation marts_build.executive_kpis" in done.stdout  # nothing is built on what is wrong


def test_a_state_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = call("build", tmp_path)
    assert done.returncode == 1
    assert f"There is no manifest.json in {tmp_path}" in done.stdout
    assert "modified.py keep" in done.stdout
