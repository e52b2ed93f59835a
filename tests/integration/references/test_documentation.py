"""What is told of the tables of a built warehouse."""

from __future__ import annotations

import json
import re

import pytest

from ecommerce_dw.explain import UnknownTableError, explain
from ecommerce_dw.settings import PROJECT_DIR
from ecommerce_dw.transform import parse, write_docs
from tests.support.reference import BuiltWarehouse


def test_every_table_is_explained_and_its_example_answers(built_shops: BuiltWarehouse) -> None:
    manifest = json.loads((parse(built_shops.settings) / "manifest.json").read_text())
    names = {
        node["name"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["schema"] in ("warehouse", "ops")
    }
    assert len(names) > 10
    for name in names:
        found = explain(name, manifest, built_shops.settings)
        assert found.is_there and found.row_count is not None, name
        assert found.table.columns, name
        assert found.table.parents or name == "dim_date", name
        assert found.last_run is not None and found.last_run.status == "success", name
        assert len(built_shops.rows(found.example)) <= 10, name
    orders = explain("warehouse.fact_orders", manifest, built_shops.settings)
    assert set(orders.as_of) == {"ecommerce", "online_retail", "sales"}
    assert orders.row_count == len(built_shops.frame("fact_orders"))
    assert orders.published_at is None
    assert explain("sales_summary", manifest, built_shops.settings).published_at is not None
    products = explain("product_performance", manifest, built_shops.settings)
    assert products.unfed == {"sales": "The files of sales have no products"}


def test_a_name_that_is_not_there_brings_the_nearest(built_shops: BuiltWarehouse) -> None:
    manifest = json.loads((parse(built_shops.settings) / "manifest.json").read_text())
    with pytest.raises(UnknownTableError, match=re.escape("There is no table custmer_summary. Did you mean")):
        explain("custmer_summary", manifest, built_shops.settings)
    with pytest.raises(UnknownTableError, match="data-dictionary"):
        explain("zzz", manifest, built_shops.settings)


def test_the_documentation_is_one_page_with_the_columns_of_the_database(
    built_shops: BuiltWarehouse,
) -> None:
    page = write_docs(built_shops.settings)
    assert [file.name for file in page.parent.iterdir()] == ["index.html"]
    text = page.read_text(encoding="utf-8")
    assert '"model.ecommerce_dw.customer_summary"' in text
    assert '"shops_of_references"' in text  # the catalog comes from the database


QUESTIONS = re.findall(
    r"^### (\d+\. .+?\?)\n(.+?)\n```sql\n(.+?)```",
    (PROJECT_DIR / "docs" / "questions.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)


def test_there_are_twenty_six_questions() -> None:
    assert [int(question.split(".")[0]) for question, _, _ in QUESTIONS] == list(range(1, 27))


@pytest.mark.parametrize(("question", "tables", "query"), QUESTIONS, ids=[q for q, _, _ in QUESTIONS])
def test_the_named_table_answers_the_question(
    built_shops: BuiltWarehouse, question: str, tables: str, query: str
) -> None:
    named = set(re.findall(r"`(\w+\.\w+)`", tables))
    assert named == set(re.findall(r"\b(?:from|join) (\w+\.\w+)", query)), question
    assert built_shops.rows(query), f"{question} is not answered"
