"""A filter by keys on the united views reads those keys, not the shop's whole history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.staging.conftest import SMALL, Staging

FILTERS = [
    ("ecommerce", "stg_customers", "customer_id", "C1"),
    ("ecommerce", "stg_products", "product_id", "P1"),
    ("ecommerce", "stg_orders", "order_id", "O1"),
    ("ecommerce", "stg_orders", "customer_id", "C1"),
    ("ecommerce", "stg_order_items", "order_item_id", "I1"),
    ("ecommerce", "stg_order_items", "order_id", "O1"),
    ("ecommerce", "stg_order_items", "product_id", "P1"),
    ("online_retail", "stg_orders", "order_id", "565080"),
    ("online_retail", "stg_order_items", "order_id", "565080"),
    ("online_retail", "stg_products", "product_id", "85123A"),
]


def test_filters_reach_the_raw_tables_indexes(make_staging: Callable[..., Staging]) -> None:
    staging = make_staging({"online_retail": SMALL})
    staging.dbt("seed", "--select", "online_retail_codes")
    staging.dbt("run", "--select", "tag:layer_staging")

    for source, model, column, value in FILTERS:
        scans = _raw_scans(staging, source, model, column, value)
        assert scans, (source, model, column)
        for table, condition in scans:
            assert table.startswith(f"{source}__"), (source, model, column, table)
            assert value in condition, (source, model, column, table)

    # The cleaned customer number has no index, but no other customer's lines are numbered.
    ((table, condition),) = _raw_scans(staging, "online_retail", "stg_customers", "customer_id", "17850")
    assert table == "online_retail__lines"
    assert "17850" in condition


def _raw_scans(staging: Staging, source: str, model: str, column: str, value: str) -> list[tuple[str, str]]:
    """The raw tables that a filter reads, each with the condition its scan itself applies."""
    plan = staging.query(
        "set enable_seqscan = off; "  # the tables are small here
        f"explain (format json) select * from staging.{model} "
        f"where source_system = '{source}' and {column} = any (array['{value}'])"
    )[0][0]
    found: list[tuple[str, str]] = []

    def visit(node: dict[str, Any]) -> None:
        table = node.get("Relation Name", "")
        if "__" in table:
            found.append(
                (table, node.get("Index Cond", "") + node.get("Recheck Cond", "") + node.get("Filter", ""))
            )
        for child in node.get("Plans", ()):
            visit(child)

    visit(plan[0]["Plan"])
    return found


@pytest.fixture(autouse=True)
def _no_shop_landed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDING_ECOMMERCE", str(tmp_path / "nothing"))
