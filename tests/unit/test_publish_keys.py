"""Small decisions of the publication that need no database."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecommerce_dw.publish import PublishSummary, TablePublication, _Column, _reshaping, _Shape, project_marts
from ecommerce_dw.settings import Settings


def test_the_projects_marts_are_its_model_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("customer/customer_summary.sql", "sales/sales_summary.sql", "sales/sales_summary.yml"):
        path = tmp_path / "models" / "marts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(Settings, "dbt_dir", tmp_path)
    assert project_marts(Settings(_env_file=None)) == {"customer_summary", "sales_summary"}


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        ([("a", "text"), ("b", "integer")], []),
        ([("a", "text"), ("b", "integer"), ("c", "date")], []),
        ([("b", "integer"), ("a", "text")], []),
        ([("a", "text")], ["column b goes"]),
        ([("a", "text"), ("b", "bigint")], ["column b changes from integer to bigint"]),
    ],
)
def test_only_a_dropped_or_retyped_column_breaks_readers(
    built: list[tuple[str, str]], expected: list[str]
) -> None:
    def shape(columns: list[tuple[str, str]]) -> _Shape:
        return _Shape(tuple(_Column(name, type_, False) for name, type_ in columns), ("a",))

    assert _reshaping(shape(built), shape([("a", "text"), ("b", "integer")])) == expected


def test_a_summary_adds_up_its_tables() -> None:
    tables = (TablePublication("a", True, 1, 2, 3), TablePublication("b", False, 0, 0, 0))
    assert PublishSummary(None, 1, tables).changed == 6
