"""docs/promises.md names tests that are there, and each of the ten laws."""

from __future__ import annotations

import re

import pytest

from ecommerce_dw.settings import PROJECT_DIR

PAGE = (PROJECT_DIR / "docs" / "promises.md").read_text()
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!promised |-)", line)]
NAMED = re.findall(r"\[`([\w.]+)::(\w+)`\]\(\.\./(tests/[\w./]+)\)", PAGE)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:60])
def test_each_promise_names_the_tests_that_prove_it(row: str) -> None:
    cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    assert len(cells) == 3 and cells[0]
    assert cells[2].count("`") == 2 * cells[2].count("](../tests/") > 0


@pytest.mark.parametrize(("file", "name", "path"), sorted(set(NAMED)))
def test_a_named_test_is_there(file: str, name: str, path: str) -> None:
    code = PROJECT_DIR / path
    assert code.name == file and code.is_file()
    assert re.search(rf"^(async )?def {name}\(", code.read_text(), flags=re.MULTILINE)


def test_every_link_is_a_test() -> None:
    assert len(NAMED) == PAGE.count("](../tests/") > len(ROWS)


def test_each_of_the_ten_laws_is_a_promise() -> None:
    _, laws = (PROJECT_DIR / "docs" / "architecture.md").read_text().split("\n## The ten laws\n")
    names = re.findall(r"^(\d+)\. \*\*([^*]+?)\.?\*\*", laws, flags=re.MULTILINE)
    assert [int(number) for number, _ in names] == list(range(1, 11))
    promised = dict(re.findall(r"^\| Law (\d+), ([^:|]+)", PAGE, flags=re.MULTILINE))
    assert {number: promised[number][:10].lower() for number, _ in names} == {
        number: name.replace("*", "")[:10].lower() for number, name in names
    }
