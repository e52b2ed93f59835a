"""`ecommerce-dw validate`, and the Data Docs of a run."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from ecommerce_dw.cli import main
from ecommerce_dw.quality import build_data_docs
from ecommerce_dw.settings import get_settings
from tests.integration.quality.conftest import RUN, Warehouse


@pytest.fixture
def shell(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """A shell whose settings are the test's."""
    for name, value in warehouse.settings.environment().items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    monkeypatch.setattr("ecommerce_dw.commands.validate.get_settings", lambda: warehouse.settings)
    return CliRunner()


def test_it_exits_with_1_and_says_what_to_do(shell: CliRunner, warehouse: Warehouse) -> None:
    good = shell.invoke(main, ["validate", "warehouse"])
    assert good.exit_code == 0, good.output
    assert "Checkpoint warehouse passed" in good.output
    warehouse.execute("update warehouse.fact_orders set is_guest = true where order_id = 'O9'")
    bad = shell.invoke(main, ["validate", "warehouse"])
    assert bad.exit_code == 1
    assert "CRITICAL fact_orders.is_guest tells whether there is no customer: 1 row breaks it." in bad.output
    assert "order_id=O9" in bad.output
    assert "To do:" in bad.output
    assert "marts is as it was" in bad.output
    machine = shell.invoke(main, ["validate", "warehouse", "--json"])
    assert machine.exit_code == 1
    outcome = json.loads(machine.stdout)
    assert outcome["run_id"] == RUN
    [failed] = [result for result in outcome["results"] if not result["is_success"]]
    assert failed["examples"][0]["order_id"] == "O9"
    assert shell.invoke(main, ["validate", "staging"]).exit_code == 2


def test_one_table_alone_is_validated_and_leaves_the_others_results(
    shell: CliRunner, warehouse: Warehouse
) -> None:
    assert shell.invoke(main, ["validate", "warehouse"]).exit_code == 0
    (before,) = warehouse.query("select count(*) from ops.expectation_results")
    warehouse.execute("update warehouse.fact_orders set is_guest = true where order_id = 'O9'")
    assert shell.invoke(main, ["validate", "warehouse", "--table", "dim_products"]).exit_code == 0
    alone = shell.invoke(main, ["validate", "warehouse", "--table", "fact_orders", "--json"])
    assert alone.exit_code == 1
    assert {result["object"] for result in json.loads(alone.stdout)["results"]} == {"fact_orders"}
    assert warehouse.query("select count(*) from ops.expectation_results") == [before]
    unknown = shell.invoke(main, ["validate", "warehouse", "--table", "fact_order"])
    assert unknown.exit_code == 2
    assert "expects nothing of fact_order." in unknown.output


def test_data_docs_are_a_site_per_run_and_pruned(warehouse: Warehouse) -> None:
    settings = warehouse.settings.model_copy(update={"data_docs_keep": 2})
    assert build_data_docs(settings, "nothing-validated") is None
    for number in range(3):
        run_id = f"manual__2026-03-0{number + 1}T02:00:00+00:00"
        warehouse.validate("warehouse", run_id)
        warehouse.validate("marts", run_id)
        index = build_data_docs(settings, run_id)
        assert index is not None and index.exists()
        os.utime(index.parents[1], (number, number))
    text = "".join(page.read_text() for page in index.parent.rglob("*.html"))
    assert "fact_orders.order_key is unique" in text
    runs = sorted(path.name for path in (settings.home / "data_docs").iterdir() if path.is_dir())
    assert len(runs) == 2
    assert "manual__2026-03-03" in (settings.home / "data_docs" / "index.html").read_text()
