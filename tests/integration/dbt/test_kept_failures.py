"""The rows that a data test found are kept where the person who was called can see them."""

from __future__ import annotations

import contextlib

import pytest

from ecommerce_dw import db
from ecommerce_dw.runs import freeze, open_run
from ecommerce_dw.transform import BuildError, build
from tests.support.dbt_warehouse import DbtWarehouse, Shop
from tests.support.two_shops import load_two_shops

RUN = "run-of-failures"


@pytest.mark.slow
def test_rows_that_fail_a_test_are_kept_until_it_passes(warehouse: DbtWarehouse, shop: Shop) -> None:
    load_two_shops(shop)
    with contextlib.closing(db.connect("owner", settings=warehouse.settings)) as connection:
        open_run(connection, RUN, business_date=None)
        freeze(connection, RUN)
    for layer in ("staging", "warehouse"):
        build(layer, RUN, settings=warehouse.settings)
    assert warehouse.query("select count(*) from ops.test_failures") == [(0,)]

    ((order_id,),) = warehouse.query("select order_id from warehouse.fact_orders order by 1 limit 1")
    damage = "update warehouse.fact_orders set gross_amount = gross_amount {} where order_id = '{}'"
    warehouse.query(damage.format("+ 1", order_id))
    with pytest.raises(BuildError, match=r"The rows that failed a test are in ops\.test_failures"):
        build("warehouse", RUN, settings=warehouse.settings)
    kept = warehouse.query("select node_id, failing_row ->> 'order_id' from ops.test_failures")
    assert ("test.ecommerce_dw.fact_orders_amounts_are_those_of_their_items", order_id) in kept
    # they may hold personal data
    assert warehouse.query("select has_table_privilege('analyst', 'ops.test_failures', 'select')") == [
        (False,)
    ]

    warehouse.query(damage.format("- 1", order_id))
    build("warehouse", RUN, settings=warehouse.settings)
    assert warehouse.query("select count(*) from ops.test_failures") == [(0,)]
