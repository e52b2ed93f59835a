"""The data dictionary says all of it, or says what it lacks."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.dictionary import IncompleteError, pages
from ecommerce_dw.dictionary.units import unit_of
from ecommerce_dw.settings import PROJECT_DIR

CONTRACTS = read_contracts(PROJECT_DIR / "airflow" / "include" / "contracts")


def column(name: str, type_: str = "text", **said: Any) -> dict[str, Any]:
    """A column as a manifest has it."""
    return {
        "name": name,
        "data_type": type_,
        "description": f"The {name}.",
        "meta": {},
        "config": {"meta": {}},
        "constraints": [],
    } | said


def generic_test(model: str, name: str, column_name: str | None = None, **arguments: Any) -> dict[str, Any]:
    """A generic test as a manifest has it."""
    return {
        "resource_type": "test",
        "name": f"{name}_{model}",
        "test_metadata": {"name": name, "kwargs": arguments},
        "attached_node": model,
        "column_name": column_name,
        "depends_on": {"nodes": [model]},
    }


@pytest.fixture
def manifest() -> dict[str, Any]:
    """A source, a model on it, tests of the model, an exposure."""
    source = {
        "resource_type": "source",
        "schema": "raw",
        "name": "orders",
        "identifier": "ecommerce__orders",
        "description": "One row per order.",
        "columns": {"order_id": column("order_id")},
    }
    model = {
        "resource_type": "model",
        "schema": "marts_build",
        "name": "sales",
        "description": "One row per day: sales.\nOf each shop.",
        "config": {"materialized": "incremental"},
        "depends_on": {"nodes": ["source.orders"]},
        "columns": {
            "day": column("day", "date", constraints=[{"type": "not_null"}]),
            "net_amount": column("net_amount", "numeric(18, 4)"),
            "status": column("status", config={"meta": {"pii": "indirect"}}),
        },
    }
    return {
        "sources": {"source.orders": source},
        "nodes": {
            "model.sales": model,
            "test.1": generic_test("model.sales", "unique_combination", columns=["shop", "day"]),
            "test.2": generic_test("model.sales", "accepted_values", "status", values=["a", "b|c"]),
            "test.3": generic_test(
                "model.sales", "relationships", "day", to="ref('dim_date')", field="date_day"
            ),
            "test.4": {
                "resource_type": "test",
                "name": "sales_are_all_orders",
                "test_metadata": None,
                "depends_on": {"nodes": ["model.sales"]},
            },
        },
        "child_map": {"source.orders": ["model.sales"], "model.sales": ["test.1"]},
        "exposures": {"e": {"name": "board", "label": "The board", "depends_on": {"nodes": ["model.sales"]}}},
    }


def test_a_page_says_grain_lineage_columns_units_and_tests(manifest: dict[str, Any]) -> None:
    text = pages(CONTRACTS, manifest, Path("docs"))[Path("docs/data-dictionary/marts.md")]

    assert "## `marts.sales`\n\nOne row per day: sales. Of each shop.\n" in text
    assert "- incremental table\n" in text
    assert "- from [`raw.ecommerce__orders`](raw.md#rawecommerce__orders)\n" in text
    assert "- used by: The board\n" in text
    assert "- tested: sales are all orders; key `shop`, `day`\n" in text
    assert "| `day` | date | day | The day. | not null, refers to `dim_date.date_day` |\n" in text
    assert "| `net_amount` | numeric(18, 4) | money | The net_amount. |  |\n" in text
    assert "| `status` | text |  | The status. Personal data (indirect). | one of `a`, `b\\|c` |\n" in text


def test_a_raw_table_is_described_by_its_contract(manifest: dict[str, Any]) -> None:
    text = pages(CONTRACTS, manifest, Path("docs"))[Path("docs/data-dictionary/raw.md")]

    assert "- source `ecommerce`: times local to UTC, amounts in USD\n" in text
    assert "- key `order_id`\n" in text
    assert "- read by [`marts.sales`](marts.md#martssales)\n" in text
    assert "| `shipping_cost` | numeric | money | required, ≥ 0, at most 2 decimals |  | Shipping" in text


def test_the_overview_leads_to_every_table(manifest: dict[str, Any]) -> None:
    text = pages(CONTRACTS, manifest, Path("docs"))[Path("docs/data-dictionary.md")]

    assert "| [`sales`](data-dictionary/marts.md#martssales) | One row per day: sales. |\n" in text
    assert (
        "| [`ecommerce__orders`](data-dictionary/raw.md#rawecommerce__orders) | One row per order. |" in text
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"columns": {"day": column("day", "date", description="")}}, "marts.sales.day: no description."),
        ({"columns": {"day": column("day", "")}}, "marts.sales.day: no type."),
        ({"columns": {"depth": column("depth", "integer")}}, "marts.sales.depth: no unit"),
        ({"columns": {}}, "marts.sales: no column is described"),
        ({"description": "Sales."}, "marts.sales: the description does not begin with the grain"),
        ({"schema": "attic"}, "attic.sales: schema attic has no page"),
    ],
)
def test_what_is_lacking_is_named(manifest: dict[str, Any], change: dict[str, Any], told: str) -> None:
    lacking = copy.deepcopy(manifest)
    lacking["nodes"]["model.sales"].update(change)

    with pytest.raises(IncompleteError) as raised:
        pages(CONTRACTS, lacking, Path("docs"))

    assert str(raised.value).startswith(told)


@pytest.mark.parametrize(
    ("name", "type_name", "said", "unit"),
    [
        ("gross_amount", "numeric(18,4)", None, "money"),
        ("unit_price", "numeric", None, "money"),
        ("margin_rate", "numeric(18, 6)", None, "share, 0 to 1"),
        ("recency_days", "integer", None, "days"),
        ("order_count", "bigint", None, "count"),
        ("load_id", "bigint", None, ""),
        ("placed_at", "timestamptz", None, "time, UTC"),
        ("name", "text", None, ""),
        ("depth", "integer", "metres", "metres"),
        ("depth", "integer", None, None),
    ],
)
def test_a_name_tells_the_unit(name: str, type_name: str, said: str | None, unit: str | None) -> None:
    assert unit_of(name, type_name, said) == unit


def test_every_column_of_every_contract_has_a_unit_or_none() -> None:
    for entities in CONTRACTS.values():
        for contract in entities.values():
            for each in contract.columns:
                assert unit_of(each.name, each.type) is not None, f"{contract.table}.{each.name}"


def test_the_pages_do_not_depend_on_the_order_of_the_manifest(manifest: dict[str, Any]) -> None:
    turned = json.loads(json.dumps(manifest))
    turned["nodes"] = dict(reversed(manifest["nodes"].items()))

    assert pages(CONTRACTS, turned, Path("docs")) == pages(CONTRACTS, manifest, Path("docs"))
