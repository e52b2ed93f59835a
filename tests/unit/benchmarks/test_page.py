"""The page of all benchmarks is made of the pages that the benchmarks write."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ecommerce_dw.settings import PROJECT_DIR
from tests.benchmarks import page

SCRIPTS = PROJECT_DIR / "tests" / "benchmarks"


def test_the_committed_page_is_what_the_committed_pages_make() -> None:
    made = page.assemble(page.DOCS / "benchmarks")
    committed = (page.DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert committed == made, "run `python tests/benchmarks/page.py` and commit docs/benchmarks.md"


def test_every_page_was_written_by_a_script_that_is_there() -> None:
    pages = {file.stem for file in (page.DOCS / "benchmarks").iterdir()}
    assert {"generate", "load", "ingest"} <= pages
    for name in pages:
        assert (SCRIPTS / f"{name}.py").exists(), name
        told = (page.DOCS / "benchmarks" / f"{name}.md").read_text(encoding="utf-8")
        assert f"Written by `tests/benchmarks/{name}.py`." in told


@pytest.mark.parametrize("name", page.ORDER)
def test_a_script_says_what_it_measures(name: str) -> None:
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--out" in told


def test_pages_stand_in_their_order_with_headings_one_level_lower(tmp_path: Path) -> None:
    (tmp_path / "zoo.md").write_text("# Other\n\nMachine: b.\n")
    (tmp_path / "load.md").write_text(
        "# Loading, 2 ways\n\nMachine: a.\n\n## Part\n\n```\n# no heading\n```\n"
    )
    (tmp_path / "generate.md").write_text("# Making\n\nMachine: a.\n")
    contents, rest = page.assemble(tmp_path).removeprefix(page.HEAD + "\n").split("\n\n", 1)
    assert contents == "- [Making](#making)\n- [Loading, 2 ways](#loading-2-ways)\n- [Other](#other)"
    assert rest == (
        "## Making\n\nMachine: a.\n\n"
        "## Loading, 2 ways\n\nMachine: a.\n\n### Part\n\n```\n# no heading\n```\n\n"
        "## Other\n\nMachine: b.\n"
    )


@pytest.mark.parametrize("text", ["Machine: a.\n", "# Title\n\nno more\n"])
def test_a_page_without_a_title_or_a_machine_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "load.md").write_text(text)
    with pytest.raises(ValueError, match=re.escape("load.md must begin with a title")):
        page.assemble(tmp_path)


def test_writing_a_page_writes_the_page_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "DOCS", tmp_path)
    page.write("# Loading\n\nMachine: a.\n", tmp_path / "elsewhere" / "load.md")
    assert not (tmp_path / "benchmarks.md").exists()
    page.write("# Loading\n\nMachine: a.\n", tmp_path / "benchmarks" / "load.md")
    assert "\n## Loading\n" in (tmp_path / "benchmarks.md").read_text()


def test_the_machine_is_told_with_the_versions_that_matter() -> None:
    plain = r"Machine: \d+ cores, \d+ GiB, \w+ \w+, Python [\d.]+"
    load = r", load average \d+\.\d\."
    assert re.fullmatch(plain + load, page.machine(with_warehouse=False))
    assert re.fullmatch(rf"{plain}, PostgreSQL 18\.\d+, dbt 1\.11\.\d+{load}", page.machine())


def test_a_spread_is_the_median_the_least_and_the_greatest() -> None:
    assert page.spread([3.0, 1.0, 1.26], 1, " s") == "1.3 s (1.0 to 3.0)"
