"""What much was written to is analyzed in the same transaction, for what reads it next."""

from __future__ import annotations

from tests.support.dbt_warehouse import DbtWarehouse, Shop
from tests.support.raw_rows import customer, order

AT = "2026-03-{:02} 12:00:00+00".format
#: Rows that the planner knows of.
KNOWN = "select relname, greatest(reltuples, 0) from pg_class where oid = any('{{{}}}'::regclass[])"


def test_a_table_that_grew_much_and_what_says_so_are_analyzed(warehouse: DbtWarehouse, shop: Shop) -> None:
    shop.load("ecommerce", "customers", "2026-03-01", [customer("C1", AT(1))])
    shop.load("ecommerce", "orders", "2026-03-02", [order("O1", AT(2))])
    warehouse.run(select="+fact_orders")
    shop.load("ecommerce", "customers", "2026-03-03", [customer(f"D{n}", AT(3)) for n in range(1500)])
    warehouse.run(select="+fact_orders")
    known = dict(warehouse.query(KNOWN.format("ops.touched,warehouse.dim_customers")))
    assert known["dim_customers"] == 1501
    assert known["touched"] > 1500
