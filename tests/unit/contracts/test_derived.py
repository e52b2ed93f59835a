"""What follows from the contracts is current, and written by a command alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ecommerce_dw import settings as settings_module
from ecommerce_dw.cli import main
from ecommerce_dw.contracts.derived import sync
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.settings import PROJECT_DIR

CONTRACTS = PROJECT_DIR / "airflow" / "include" / "contracts"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with contracts of its own and nothing derived from them."""
    shutil.copytree(CONTRACTS, tmp_path / "contracts")
    return tmp_path


def test_what_the_repository_holds_is_current() -> None:
    result = sync(read_contracts(CONTRACTS), PROJECT_DIR, contracts_dir=CONTRACTS, dry_run=True)

    assert result.stale == (), "Run `ecommerce-dw contracts sync` and commit what it writes."


def test_a_second_synchronisation_writes_nothing(checkout: Path) -> None:
    contracts = read_contracts(checkout / "contracts")

    first, second = sync(contracts, checkout), sync(contracts, checkout)

    assert len(first.written) == len(contracts) + 1
    assert second.stale == ()
    assert set(second.current) == set(first.written)


def test_a_dry_run_writes_nothing(checkout: Path) -> None:
    result = sync(read_contracts(checkout / "contracts"), checkout, dry_run=True)

    assert len(result.written) == len(read_contracts(checkout / "contracts")) + 1
    assert not (checkout / "dbt").exists()


def test_a_second_shop_needs_its_folder_of_contracts_alone(checkout: Path) -> None:
    folder = checkout / "contracts" / "market_stall"
    shutil.copytree(checkout / "contracts" / "online_retail", folder)
    file = folder / "lines.odcs.yaml"
    file.write_text(file.read_text().replace("online_retail", "market_stall"))

    sync(read_contracts(checkout / "contracts"), checkout)

    sources = yaml.safe_load(
        (checkout / "dbt/models/staging/market_stall/_market_stall__sources.yml").read_text()
    )
    assert sources["sources"][0]["tables"][0]["identifier"] == "market_stall__lines"
    macro = (checkout / "dbt/macros/generated/sources.sql").read_text()
    assert "'orders': ['ecommerce', 'market_stall', 'online_retail', 'sales']" in macro
    assert "when 'market_stall' then 'GBP'" in macro


def test_the_files_of_a_source_that_is_no_more_are_removed(checkout: Path) -> None:
    sync(read_contracts(checkout / "contracts"), checkout)
    shutil.rmtree(checkout / "contracts" / "online_retail")
    handwritten = checkout / "dbt/models/staging/online_retail/_notes__sources.yml"
    handwritten.write_text("sources: []\n")

    result = sync(read_contracts(checkout / "contracts"), checkout)

    assert result.removed == (checkout / "dbt/models/staging/online_retail/_online_retail__sources.yml",)
    assert not result.removed[0].exists()
    assert handwritten.exists()


def test_every_column_of_a_source_is_documented() -> None:
    for file in (PROJECT_DIR / "dbt" / "models" / "staging").glob("*/_*__sources.yml"):
        for table in yaml.safe_load(file.read_text())["sources"][0]["tables"]:
            assert table["description"].startswith("One row per ")
            for column in table["columns"]:
                assert column["description"] and column["data_type"], column


def test_the_command_names_what_is_broken_and_exits_1(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = checkout / "contracts" / "ecommerce" / "orders.odcs.yaml"
    file.write_text(file.read_text().replace("kind: DataContract", "kind: Contract"))
    monkeypatch.setenv("CONTRACTS_DIR", str(checkout / "contracts"))
    settings_module.get_settings.cache_clear()
    try:
        plain = CliRunner().invoke(main, ["contracts", "check"])
        machine = CliRunner().invoke(main, ["contracts", "check", "--json"])
    finally:
        settings_module.get_settings.cache_clear()

    assert plain.exit_code == machine.exit_code == 1
    assert f"{file}: kind: 'Contract' is not one of DataContract." in plain.output
    assert json.loads(machine.output) == {
        "ok": False,
        "file": str(file),
        "place": "kind",
        "problem": "'Contract' is not one of DataContract.",
    }


def test_the_command_lists_the_contracts() -> None:
    outcome = CliRunner().invoke(main, ["contracts", "check", "--json"])

    assert outcome.exit_code == 0
    assert [(row["source"], row["entity"]) for row in json.loads(outcome.output)["contracts"]] == [
        ("ecommerce", "customers"),
        ("ecommerce", "inventory"),
        ("ecommerce", "marketing_spend"),
        ("ecommerce", "order_items"),
        ("ecommerce", "orders"),
        ("ecommerce", "payments"),
        ("ecommerce", "products"),
        ("ecommerce", "returns"),
        ("ecommerce", "web_events"),
        ("online_retail", "lines"),
        ("sales", "sales"),
    ]
