"""`dbt build` of the whole project: every model, unit test and data test, deprecations as errors."""

from __future__ import annotations

from tests.support.dbt_warehouse import DbtWarehouse, Shop
from tests.support.two_shops import load_two_shops


def test_every_node_builds_and_every_unit_and_data_test_passes(warehouse: DbtWarehouse, shop: Shop) -> None:
    load_two_shops(shop)
    warehouse.freeze()

    nodes = warehouse.build("build", select="*")

    manifest = warehouse.incremental.manifest
    expected = {node.name for node in manifest.nodes.values() if node.config.materialized != "ephemeral"}
    unit_tests = {test.name for test in manifest.unit_tests.values()}
    assert unit_tests
    for exposure in manifest.exposures.values():
        del nodes[exposure.name]  # nothing is built for it
    assert set(nodes) == expected | unit_tests
    assert set(nodes.values()) == {"success", "pass"}
