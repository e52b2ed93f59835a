"""Rows of two versions of a contract live side by side, from the file to the united staging views."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ecommerce_dw.loading import load
from ecommerce_dw.settings import PROJECT_DIR
from tests.integration.staging.conftest import Staging

PRODUCTS = "product_id,product_name,price,cost,is_active,created_date,updated_at"
ITEMS = "order_item_id,order_id,product_id,quantity,unit_price,discount_amount,line_total,created_at"


@pytest.mark.slow
def test_rows_of_both_versions_go_through_staging(
    make_staging: Callable[..., Staging], tmp_path: Path
) -> None:
    checkout, landing = tmp_path / "checkout", tmp_path / "landing"
    contracts = checkout / "contracts"
    shutil.copytree(PROJECT_DIR / "airflow" / "include" / "contracts", contracts)
    shutil.copytree(PROJECT_DIR / "dbt", checkout / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
    _land(landing, "products", 1, PRODUCTS, "P1,Mug,4.50,2,true,2026-01-01,2026-01-01 10:00:00")
    _land(landing, "order_items", 1, ITEMS, "I1,O1,P1,2,4.50,0,9.00,2026-01-01 10:00:00")
    staging = make_staging({"ecommerce": landing}, contracts_dir=contracts)
    build = ("build", "--select", "+stg_products", "+stg_order_items", "--resource-type", "model", "seed")
    staging.dbt(*build, project=checkout / "dbt")
    quantity = "select distinct pg_typeof(quantity)::text from staging.stg_ecommerce__order_items"
    assert staging.query(quantity) == [("integer",)]

    # version 2: a column more, and a type that holds more
    _edit(
        contracts / "ecommerce" / "products.odcs.yaml",
        ("version: 1.0.0", "version: 1.1.0"),
        (
            "      - name: price\n",
            "      - name: colour\n        logicalType: string\n        description: Colour.\n"
            "      - name: price\n",
        ),
    )
    _edit(
        contracts / "ecommerce" / "order_items.odcs.yaml",
        ("version: 1.0.0", "version: 1.1.0"),
        ("physicalType: integer", "physicalType: bigint"),
    )
    _land(landing, "products", 2, PRODUCTS + ",colour", "P2,Cup,3,1,true,2026-01-02,2026-01-02 10:00:00,red")
    _land(landing, "order_items", 2, ITEMS, "I2,O1,P2,3000000000,1,0,3000000000,2026-01-02 10:00:00")
    summary = load(staging.settings)

    assert (summary.files_loaded, summary.files_skipped, summary.rows_rejected) == (2, 2, 0)
    # before dbt has run: the views of version 1 read both
    products = "select product_id, product_name from staging.stg_products order by product_id"
    assert staging.query(products) == [("P1", "Mug"), ("P2", "Cup")]
    assert staging.query(quantity) == [("bigint",)]
    assert staging.query("select quantity from staging.stg_order_items order by order_item_id") == [
        (2,),
        (3_000_000_000,),
    ]
    assert staging.query(
        "select entity, version, changes from ops.contract_versions "
        "where source = 'ecommerce' and version <> '1.0.0' order by entity"
    ) == [
        ("order_items", "1.1.0", ["column quantity: type integer → bigint"]),
        ("products", "1.1.0", ["column colour is new (text, optional)"]),
    ]

    # and the model that shows the new column
    _edit(
        checkout / "dbt" / "models" / "staging" / "ecommerce" / "stg_ecommerce__products.sql",
        ("products.is_active,", "products.is_active,\n        products.colour,"),
    )
    staging.dbt(*build, project=checkout / "dbt")

    assert staging.query("select product_id, colour from staging.stg_ecommerce__products order by 1") == [
        ("P1", None),
        ("P2", "red"),
    ]
    assert staging.query(products) == [("P1", "Mug"), ("P2", "Cup")]


def _land(landing: Path, entity: str, day: int, header: str, row: str) -> None:
    file = landing / entity / f"dt=2026-01-{day:02}" / f"{entity}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{header}\n{row}\n")


def _edit(file: Path, *replacements: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new, 1)
    file.write_text(text)
