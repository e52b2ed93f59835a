"""Another shop is a folder of contracts and a folder of staging models, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ecommerce_dw.contracts.derived import sync
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.settings import PROJECT_DIR
from tests.integration.staging.conftest import SMALL, Staging


@pytest.mark.slow
def test_a_shop_is_added_by_two_folders(make_staging: Callable[..., Staging], tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    contracts = checkout / "contracts"
    shutil.copytree(PROJECT_DIR / "airflow" / "include" / "contracts", contracts)
    shutil.copytree(PROJECT_DIR / "dbt", checkout / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
    staging_models = checkout / "dbt" / "models" / "staging"
    _copy_as(contracts / "online_retail", contracts / "market_stall")
    _copy_as(staging_models / "online_retail", staging_models / "market_stall")
    (staging_models / "market_stall" / "_market_stall__sources.yml").unlink()
    sync(read_contracts(contracts), checkout)

    staging = make_staging({"online_retail": SMALL, "market_stall": SMALL}, contracts_dir=contracts)
    staging.dbt(
        "build", "--select", "tag:layer_staging", "--exclude-resource-type", "test",
        project=checkout / "dbt",
    )  # fmt: skip

    for model in ("stg_orders", "stg_order_items", "stg_customers", "stg_products"):
        counts = dict(staging.query(f"select source_system, count(*) from staging.{model} group by 1"))
        assert counts["market_stall"] == counts["online_retail"] > 0, model
    manifest = json.loads((tmp_path / "dbt" / "target" / "manifest.json").read_text())
    read = manifest["nodes"]["model.ecommerce_dw.int_rejected_order_items"]["depends_on"]["nodes"]
    assert "model.ecommerce_dw.stg_market_stall__rejected_order_items" in read
    assert staging.query("select distinct source_system from staging.stg_touched order by 1") == [
        ("market_stall",),
        ("online_retail",),
    ]


def _copy_as(folder: Path, target: Path) -> None:
    """Copy a shop's folder under another name; its code list stays the one it has."""
    target.mkdir()
    for file in folder.iterdir():
        text = file.read_text().replace("online_retail", "market_stall")
        text = text.replace("market_stall_codes", "online_retail_codes")
        (target / file.name.replace("online_retail", "market_stall")).write_text(text)
