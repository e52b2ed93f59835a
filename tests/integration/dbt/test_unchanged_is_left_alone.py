"""A run makes anew only what changed: views, seeds, comments and grants stay where they are the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.dbt_warehouse import DbtWarehouse, Shop
from tests.support.two_shops import load_two_shops

COMMENT = "select obj_description('warehouse.fact_payments'::regclass)"
MAY_READ = "select has_table_privilege('analyst', 'warehouse.fact_payments', 'select')"
#: Identity and last writer of every view, of every row of a seed, and of every comment. `flagged_rows` is
#: counted anew by every run, and with it goes the view that reads it.
TRACES = """
    select 'view', oid::regclass::text, oid::text from pg_class where relkind = 'v' and relname like 'stg%'
    union all
    select 'seed', segment, xmin::text from staging.rfm_segments
    union all
    select 'comment', objoid::regclass::text || '.' || objsubid, xmin::text
    from pg_description
    where classoid = 'pg_class'::regclass
        and objoid <> all(array['ops.flagged_rows', 'ops.data_quality_report']::regclass[])
    order by 1, 2
"""


LAYERS = "tag:layer_staging tag:layer_warehouse"


@pytest.fixture
def built(warehouse: DbtWarehouse, shop: Shop) -> DbtWarehouse:
    """Two shops, staging and warehouse built."""
    load_two_shops(shop)
    warehouse.build("seed", select=LAYERS)
    warehouse.run(select=LAYERS)
    return warehouse


def _traces(warehouse: DbtWarehouse) -> list[tuple[Any, ...]]:
    found = warehouse.query(TRACES)
    assert {kind for kind, _, _ in found} == {"view", "seed", "comment"}
    return found


def test_what_did_not_change_is_not_made_anew(built: DbtWarehouse) -> None:
    before = _traces(built)
    built.build("seed", select=LAYERS)
    built.run(select=LAYERS)
    assert _traces(built) == before


def test_a_changed_query_makes_its_view_anew_and_those_that_read_it(
    built: DbtWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: trace for kind, name, trace in _traces(built) if kind == "view"}
    node = built.incremental.manifest.nodes["model.ecommerce_dw.stg_ecommerce__payments"]
    monkeypatch.setattr(node, "raw_code", node.raw_code + "\nwhere true")
    built.run(select=LAYERS)
    after = {name: trace for kind, name, trace in _traces(built) if kind == "view"}
    assert after.keys() == before.keys()
    assert {name for name, trace in after.items() if trace != before[name]} == {
        "staging.stg_ecommerce__payments",
        "staging.stg_payments",
    }


def test_changed_comments_and_grants_are_applied_to_a_table_that_stays(
    built: DbtWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = built.incremental.manifest.nodes["model.ecommerce_dw.fact_payments"]
    identity = built.query("select 'warehouse.fact_payments'::regclass::oid")
    assert built.query(MAY_READ) == [(True,)]
    monkeypatch.setattr(node, "description", "One row per payment, told in other words.")
    monkeypatch.setattr(node.config, "grants", {"select": []})
    built.run(select="fact_payments")
    assert built.query(COMMENT) == [("One row per payment, told in other words.",)]
    assert built.query(MAY_READ) == [(False,)]
    assert built.query("select 'warehouse.fact_payments'::regclass::oid") == identity


def test_a_full_refresh_makes_all_anew(built: DbtWarehouse) -> None:
    before = built.query("select 'staging.stg_ecommerce__payments'::regclass::oid")
    built.run(select="stg_ecommerce__payments", full_refresh=True)
    assert built.query("select 'staging.stg_ecommerce__payments'::regclass::oid") != before


def test_a_query_with_other_columns_than_its_table_stops_with_their_names(
    built: DbtWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = built.incremental.manifest.nodes["model.ecommerce_dw.dim_channel"]
    code = node.raw_code
    monkeypatch.setattr(node, "raw_code", f"select *, 1 as surplus from (\n{code}\n) as channels")
    outcome = built.incremental.invoke("run", "--select", "dim_channel")
    (result,) = outcome.result.results
    assert "surplus is integer in the query and missing in its yml" in result.message
