"""What Airflow is told about lineage: nothing is made unless somebody asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecommerce_dw.lineage import Dataset, lineage_of
from ecommerce_dw.platform.configuration import airflow_options
from ecommerce_dw.settings import PROJECT_DIR, Settings


def options(tmp_path: Path, **values: object) -> dict[str, str]:
    settings = Settings(_env_file=None, ecommerce_dw_home=tmp_path, **values)  # type: ignore[call-arg, arg-type]
    return airflow_options(settings)["openlineage"]


def test_lineage_is_off_by_default(tmp_path: Path) -> None:
    assert options(tmp_path) == {"disabled": "True"}
    assert options(tmp_path, openlineage_log="") == {"disabled": "True"}


def test_an_event_is_sent_once_and_waited_for_a_while(tmp_path: Path) -> None:
    told = options(tmp_path, openlineage_url="http://marquez:5000", openlineage_timeout_seconds=3)
    assert json.loads(told["transport"]) == {
        "type": "http",
        "url": "http://marquez:5000",
        "timeout": 3,
        "retry": {"total": 0},
    }
    assert told["execution_timeout"] == "3"
    assert told["disable_source_code"] == "True"


def test_a_file_counts_from_the_checkout_and_goes_with_an_address(tmp_path: Path) -> None:
    both = json.loads(
        options(tmp_path, openlineage_url="http://h", openlineage_log="var/lineage.jsonl")["transport"]
    )
    assert both["type"] == "composite" and both["continue_on_failure"]
    assert both["transports"][0]["log_file_path"] == str(PROJECT_DIR / "var/lineage.jsonl")
    assert [each["type"] for each in both["transports"]] == ["file", "http"]


def test_files_and_raw_tables_are_those_of_the_contracts(tmp_path: Path) -> None:
    """They are known without a warehouse."""
    settings = Settings(  # type: ignore[call-arg]
        _env_file=None, ecommerce_dw_home=tmp_path, warehouse_host="db.example.com", warehouse_port=5432
    )
    load = lineage_of("load", settings)
    assert (
        Dataset("file", f"{tmp_path}/landing/ecommerce/orders/dt={{date}}/orders{{part}}.csv") in load.inputs
    )
    assert Dataset("postgres://db.example.com:5432", "ecommerce_dw.raw.ecommerce__orders") in load.outputs
    assert len(load.inputs) == len(load.outputs)
    assert lineage_of("check_raw", settings).inputs == load.outputs
    assert lineage_of("alert", settings) == lineage_of("no task", settings)


def test_files_in_a_bucket_are_named_by_the_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDING_SALES", "s3://shop-files/daily/sales")
    settings = Settings(_env_file=None, ecommerce_dw_home=tmp_path)  # type: ignore[call-arg]
    assert Dataset("s3://shop-files", "daily/sales/{name}{part}.csv") in lineage_of("load", settings).inputs
