"""A filter by keys on the united views reads those keys, not the shop's whole history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.staging.conftest import SMALL, Staging
from tests.support.dbt_warehouse import DbtWarehouse

FILTERS = [
    ("ecommerce", "stg_customers", "customer_id", "C1"),
    ("ecommerce", "stg_products", "product_id", "P1"),
    ("ecommerce", "stg_orders", "order_id", "O1"),
    ("ecommerce", "stg_orders", "customer_id", "C1"),
    ("ecommerce", "stg_order_items", "order_item_id", "I1"),
    ("ecommerce", "stg_order_items", "order_id", "O1"),
    ("ecommerce", "stg_order_items", "product_id", "P1"),
    ("ecommerce", "stg_payments", "payment_id", "PM1"),
    ("ecommerce", "stg_payments", "order_id", "O1"),
    ("ecommerce", "stg_returns", "return_id", "RT1"),
    ("ecommerce", "stg_returns", "order_item_id", "I1"),
    ("ecommerce", "stg_inventory", "product_id", "P1"),
    ("ecommerce", "stg_inventory", "snapshot_date", "2026-01-05"),
    ("ecommerce", "stg_web_events", "event_id", "EV1"),
    ("ecommerce", "stg_web_events", "session_id", "S1"),
    ("ecommerce", "stg_marketing_spend", "spend_date", "2026-01-05"),
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


def test_touched_keys_of_an_entity_are_read_from_the_files_that_name_it(built_once: DbtWarehouse) -> None:
    built_once.reset()
    reads = {
        "orders": {
            "ecommerce__orders",
            "ecommerce__order_items",
            "online_retail__lines",
            "sales__sales",
        },
        "products": {"ecommerce__products", "ecommerce__order_items", "online_retail__lines"},
        "paid_orders": {"ecommerce__payments"},
        "inventory": {"ecommerce__inventory"},
        "sessions": {"ecommerce__web_events"},
    }

    for entity, tables in reads.items():
        scans = _scans(
            built_once.query,
            f"select key from staging.stg_touched where entity = '{entity}' and load_id > 5 and load_id <= 7",
        )
        assert {table for table, _ in scans} == tables, entity
        for table, condition in scans:
            assert "_file_id" in condition, (entity, table)


def _raw_scans(staging: Staging, source: str, model: str, column: str, value: str) -> list[tuple[str, str]]:
    """The raw tables that a filter reads, each with the condition its scan itself applies."""
    return _scans(
        staging.query,
        f"select * from staging.{model} where source_system = '{source}' and {column} = any ('{{{value}}}')",
    )


def _scans(ask: Callable[[str], list[tuple[Any, ...]]], query: str) -> list[tuple[str, str]]:
    """The raw tables that a query's plan reads, each with the condition its scan itself applies."""
    # The tables are small here, so that reading them whole would be cheaper.
    plan = ask(
        "set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; "
        f"explain (format json) {query}"
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
