"""Checkpoints warehouse and marts: each expectation alone fails on its own defect."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ecommerce_dw.quality.model import Checkpoint
from tests.integration.quality.conftest import RUN, Warehouse

Breaker = Callable[[Warehouse], None]

O9 = "source_system = 'ecommerce' and order_id = 'O9'"
#: The zero-priced line of the guest's invoice: it moves no amount.
ZERO = "line_type = 'zero_priced'"
ZERO_ORDER = "source_system = 'online_retail' and order_id = '536366'"
RECONCILED = "layer_reconciliation.every difference up to the {} has a name"


def statements(*sql: str, loosen: str | None = None) -> Breaker:
    """A defect made by these statements."""

    def breaks(warehouse: Warehouse) -> None:
        if loosen:
            warehouse.loosen(loosen)
        warehouse.execute(*sql)

    return breaks


def dimension(table: str, member: str) -> dict[str, Breaker]:
    """C3, C4, P3 and P4 are in no order: their rows can be spoilt without spoiling a fact."""
    key, prefix = f"{member}_id", member[0].upper()
    third, fourth = f"{key} = '{prefix}3'", f"{key} = '{prefix}4'"
    return {
        f"{table}.{member}_key is unique": statements(
            f"update warehouse.{table} set {member}_key = (select {member}_key from warehouse.{table} "
            f"where {third} and is_current) where {fourth}",
            loosen=f"warehouse.{table}",
        ),
        f"{table}.{member}_key is never null": statements(
            f"update warehouse.{table} set {member}_key = null where {fourth}", loosen=f"warehouse.{table}"
        ),
        f"{table}.versions neither overlap nor leave gaps": statements(
            f"update warehouse.{table} set valid_to = valid_to - interval '1 second' "
            f"where {third} and not is_current"
        ),
        f"{table}.is_current marks the last version": statements(
            f"update warehouse.{table} set is_current = false where {fourth}"
        ),
    }


WAREHOUSE: dict[str, Breaker] = {
    **dimension("dim_customers", "customer"),
    **dimension("dim_products", "product"),
    "fact_orders.order_key is unique": statements(
        f"update warehouse.fact_orders set order_key = "
        f"(select order_key from warehouse.fact_orders where order_id = 'O1') where {O9}"
    ),
    "fact_orders.source_system, order_id is unique": statements(
        "create temporary table o9 as select * from warehouse.fact_orders where order_id = 'O9'",
        "update o9 set order_key = gen_random_uuid(), order_date = order_date + 1",
        "insert into warehouse.fact_orders select * from o9",
    ),
    "fact_orders.customer_key points at its customer": statements(
        f"update warehouse.fact_orders set customer_key = gen_random_uuid() where {O9}"
    ),
    "fact_orders.customer_key was valid when the order was placed": statements(
        "update warehouse.fact_orders set customer_key = (select customer_key from warehouse.dim_customers "
        f"where customer_id = 'C1' and not is_current) where {O9}"
    ),
    "fact_orders.order_date is in dim_date": statements(
        "delete from warehouse.dim_date where date_day = '2026-03-06'"
    ),
    "fact_orders.is_guest tells whether there is no customer": statements(
        f"update warehouse.fact_orders set is_guest = true where {O9}"
    ),
    "fact_orders.cancelled orders say when": statements(
        f"update warehouse.fact_orders set cancelled_at = ordered_at, cancelled_date = order_date where {O9}"
    ),
    "fact_orders.currency is one per source": statements(
        f"update warehouse.fact_orders set currency = 'EUR' where {O9}"
    ),
    "fact_orders.amounts are those of its items": statements(
        f"update warehouse.fact_orders set gross_amount = gross_amount + 0.01 where {O9}"
    ),
    "fact_order_items.order_item_key is unique": statements(
        "update warehouse.fact_order_items set order_item_key = (select order_item_key "
        "from warehouse.fact_order_items where order_item_id = 'I1') where order_item_id = 'I2'"
    ),
    "fact_order_items.source_system, order_item_id is unique": statements(
        f"create temporary table copy as select * from warehouse.fact_order_items where {ZERO}",
        "update copy set order_item_key = gen_random_uuid()",
        "insert into warehouse.fact_order_items select * from copy",
        f"update warehouse.fact_orders set item_count = item_count + 1 where {ZERO_ORDER}",
        loosen="warehouse.fact_order_items",
    ),
    "fact_order_items.order_key points at its order": statements(
        "update warehouse.fact_order_items set order_key = gen_random_uuid() where order_item_id = 'I1'"
    ),
    "fact_order_items.product_key points at its product": statements(
        "update warehouse.fact_order_items set product_key = gen_random_uuid() where order_item_id = 'I1'"
    ),
    "fact_order_items.product_key was valid when the order was placed": statements(
        "update warehouse.fact_order_items set product_key = (select product_key from warehouse.dim_products "
        "where product_id = 'P2' and is_current) where order_item_id = 'I2'"
    ),
    "fact_order_items.line_type has a known value": statements(
        f"update warehouse.fact_order_items set line_type = 'gift' where {ZERO}",
        loosen="warehouse.fact_order_items",
    ),
    "fact_order_items.unit_cost is that of the product's version": statements(
        "update warehouse.fact_order_items set unit_cost = unit_cost + 1 where order_item_id = 'I1'"
    ),
    "fact_order_items.amounts follow from the kind of line": statements(
        f"update warehouse.fact_order_items set fee_amount = 1 where {ZERO}",
        f"update warehouse.fact_orders set fee_amount = fee_amount + 1 where {ZERO_ORDER}",
    ),
    "fact_returns.return_key is unique": statements(
        "update warehouse.fact_returns set return_key = "
        "(select return_key from warehouse.fact_returns where return_id = 'RT2') where return_id = 'RT1'"
    ),
    "fact_returns.source_system, return_id is unique": statements(
        "create temporary table rt1 as select * from warehouse.fact_returns where return_id = 'RT1'",
        "update rt1 set return_key = gen_random_uuid(), returned_date = returned_date + 1",
        "insert into warehouse.fact_returns select * from rt1",
    ),
    "fact_returns.order_item_key points at its item": statements(
        "update warehouse.fact_returns set product_key = gen_random_uuid() where return_id = 'RT1'"
    ),
    "fact_returns.nothing is taken back twice": statements(
        "update warehouse.fact_returns set is_counted = true, refund_amount = 10 where return_id = 'RT2'"
    ),
    RECONCILED.format("warehouse"): statements(
        f"delete from warehouse.fact_order_items where {ZERO}",
        f"update warehouse.fact_orders set item_count = item_count - 1 where {ZERO_ORDER}",
    ),
}


def mart(table: str, where: str, *assignments: str) -> Breaker:
    return statements(
        f"update marts_build.{table} set {', '.join(assignments)} "
        f"where source_system = 'ecommerce' and {where}",
        loosen=f"marts_build.{table}",
    )


def copy_of(table: str, where: str) -> Breaker:
    return statements(
        f"insert into marts_build.{table} select * from marts_build.{table} "
        f"where source_system = 'ecommerce' and {where}",
        loosen=f"marts_build.{table}",
    )


def gross(amount: str) -> tuple[str, ...]:
    """More gross, with what follows from it."""
    return tuple(f"{name} = {name} + {amount}" for name in ("gross_amount", "net_amount", "margin_amount"))


C1, P1, Q1 = "customer_id = 'C1'", "product_id = 'P1'", "period_type = 'quarter'"
DAY2 = "date '2026-03-02' between period_start and period_end"

MARTS: dict[str, Breaker] = {
    "customer_summary.source_system, customer_id is unique": copy_of(
        "customer_summary", "customer_id = 'C3'"
    ),
    "customer_summary.net is gross - discounts - cancellations - refunds": mart(
        "customer_summary", C1, "net_amount = net_amount + 0.01", "margin_amount = margin_amount + 0.01"
    ),
    "customer_summary.margin is net - cost": mart("customer_summary", C1, "margin_amount = null"),
    "customer_summary.recency_score is at least 1 and at most 5": mart(
        "customer_summary", C1, "recency_score = 6"
    ),
    "customer_summary.frequency_score is at least 1 and at most 5": mart(
        "customer_summary", C1, "frequency_score = 0"
    ),
    "customer_summary.monetary_score is at least 1 and at most 5": mart(
        "customer_summary", C1, "monetary_score = 6"
    ),
    "customer_summary.recency_days is at least 0": mart("customer_summary", C1, "recency_days = -1"),
    "customer_summary.customers with an order that stands are ranked": mart(
        "customer_summary", C1, "frequency = 0"
    ),
    "customer_summary.rfm_segment is one of the seed's": mart(
        "customer_summary", C1, "rfm_segment = 'Nobody'"
    ),
    "customer_summary.as_of_date is the source's": mart(
        "customer_summary", C1, "as_of_date = as_of_date - 1"
    ),
    "customer_summary.amounts are those of the facts": mart("customer_summary", C1, *gross("0.01")),
    "customer_summary.every customer is in it": statements(
        "delete from marts_build.customer_summary where customer_id = 'C3'"
    ),
    "product_performance.source_system, product_id is unique": copy_of(
        "product_performance", "product_id = 'P3'"
    ),
    "product_performance.net is gross - discounts - cancellations - refunds": mart(
        "product_performance", P1, "net_amount = net_amount + 0.01", "margin_amount = margin_amount + 0.01"
    ),
    "product_performance.margin is net - cost": mart("product_performance", P1, "margin_amount = null"),
    "product_performance.abc_class has a known value": mart("product_performance", P1, "abc_class = 'D'"),
    "product_performance.trend has a known value": mart("product_performance", P1, "trend = 'up'"),
    "product_performance.net_share is at least 0 and at most 1": mart(
        "product_performance", P1, "net_share = 2"
    ),
    "product_performance.cumulative_net_share is at least 0 and at most 1": mart(
        "product_performance", P1, "cumulative_net_share = -1"
    ),
    "product_performance.health_score is at least 0 and at most 100": mart(
        "product_performance", P1, "health_score = 101"
    ),
    "product_performance.as_of_date is the source's": mart(
        "product_performance", P1, "as_of_date = as_of_date - 1"
    ),
    "product_performance.amounts are those of the facts": mart("product_performance", P1, *gross("0.01")),
    "product_performance.every product is in it": statements(
        "delete from marts_build.product_performance where product_id = 'P3'"
    ),
    "sales_summary.source_system, period_type, period_start is unique": copy_of("sales_summary", Q1),
    "sales_summary.net is gross - discounts - cancellations - refunds": mart(
        "sales_summary", Q1, "net_amount = net_amount + 0.01", "margin_amount = margin_amount + 0.01"
    ),
    "sales_summary.margin is net - cost": mart("sales_summary", Q1, "margin_amount = margin_amount + 0.01"),
    "sales_summary.period_type has a known value": mart("sales_summary", Q1, "period_type = 'year'"),
    "sales_summary.guest_order_share is at least 0 and at most 1": mart(
        "sales_summary", Q1, "guest_order_share = 1.1"
    ),
    "sales_summary.period_start begins its period": mart("sales_summary", Q1, "period_end = period_end + 1"),
    "sales_summary.days are those of the facts": mart("sales_summary", DAY2, *gross("0.01")),
    "sales_summary.periods are the sums of their days": mart("sales_summary", Q1, *gross("0.01")),
    "sales_summary.every day with orders is in it": statements(
        "delete from marts_build.sales_summary where period_type = 'day' and period_start = '2026-03-06'",
        "update marts_build.sales_summary set order_count = order_count - 1 "
        "where source_system = 'ecommerce' and date '2026-03-06' between period_start and period_end",
    ),
    RECONCILED.format("marts"): mart("sales_summary", DAY2, "guest_order_count = guest_order_count + 1"),
}


@pytest.mark.parametrize(
    ("checkpoint", "breakers"), [("warehouse", WAREHOUSE), ("marts", MARTS)], ids=["warehouse", "marts"]
)
def test_good_data_passes_and_every_expectation_has_a_test(
    checkpoint: Checkpoint, breakers: dict[str, Breaker], warehouse: Warehouse
) -> None:
    summary = warehouse.validate(checkpoint)
    assert summary.is_success, summary.describe()
    assert [result.name for result in summary.results if not result.is_success] == []
    assert {result.name for result in summary.results} == set(breakers)


@pytest.mark.parametrize("name", WAREHOUSE)
def test_each_warehouse_expectation_fails_alone(name: str, warehouse: Warehouse) -> None:
    WAREHOUSE[name](warehouse)
    assert warehouse.failed("warehouse") == [name]


@pytest.mark.parametrize("name", MARTS)
def test_each_mart_expectation_fails_alone(name: str, warehouse: Warehouse) -> None:
    MARTS[name](warehouse)
    # Money that is wrong in a mart is no longer that of the layer before, either.
    also = {RECONCILED.format("marts")}
    assert set(warehouse.failed("marts")) - also == {name} - also
    assert name in warehouse.failed("marts")


def publish(warehouse: Warehouse) -> None:
    from ecommerce_dw.publish import publish

    publish(warehouse.settings, run_id=RUN)


def test_what_was_published_is_not_looked_at_again_until_it_is_touched(warehouse: Warehouse) -> None:
    order = "fact_orders.is_guest tells whether there is no customer"
    customer = "customer_summary.recency_days is at least 0"
    publish(warehouse)
    WAREHOUSE[order](warehouse)
    MARTS[customer](warehouse)
    assert warehouse.failed("warehouse") == []
    assert warehouse.failed("marts") == []
    warehouse.execute(
        "insert into ops.touched (model, load_id, source_system, key, day) values "
        "('fact_orders', 100, 'ecommerce', 'O9', '2026-03-06'), "
        "('customer_summary', 100, 'ecommerce', 'C1', null)"
    )
    assert warehouse.failed("warehouse") == [order]
    assert warehouse.failed("marts") == [customer]
    # A rebuild in full is looked at in full.
    warehouse.execute("delete from ops.touched where key <> '*'")
    assert warehouse.failed("marts") == []
    warehouse.execute("insert into ops.touched (model, load_id, key) values ('customer_summary', 100, '*')")
    assert warehouse.failed("marts") == [customer]


def test_a_shop_that_is_gone_from_a_published_table_is_named(warehouse: Warehouse) -> None:
    publish(warehouse)
    assert warehouse.failed("marts") == []
    warehouse.execute("delete from marts_build.monthly_metrics where source_system = 'ecommerce'")
    assert warehouse.failed("marts") == ["published_tables.no shop is gone from a table"]
    summary = warehouse.validate("marts")
    assert summary.is_success  # a warning
    (result,) = (r for r in summary.results if not r.is_success)
    assert result.examples == ({"table_name": "monthly_metrics", "source_system": "ecommerce"},)


def test_a_change_that_the_models_missed_is_seen(warehouse: Warehouse) -> None:
    """A load touched an order, and no model took it in."""
    publish(warehouse)
    warehouse.execute(
        "insert into raw.load_ledger (source, entity, business_date, path, version, contract_hash, sha256, "
        "bytes, rows_read, rows_loaded, status, load_id) "
        "values ('ecommerce', 'orders', '2026-03-06', 'orders/late.csv', 1, 'h', 's', 1, 1, 1, 'loaded', "
        "nextval('raw.load_id_seq')), "
        "('ecommerce', 'order_items', '2026-03-06', 'order_items/late.csv', 1, 'h', 's', 1, 1, 1, 'loaded', "
        "nextval('raw.load_id_seq'))",
        "insert into raw.ecommerce__order_items select i.order_item_id || 'x', 'O9', i.product_id, "
        "i.quantity, i.unit_price, i.line_total, i.discount_amount, i.created_at, l.file_id, 2 "
        "from raw.ecommerce__order_items as i, raw.load_ledger as l "
        "where i.order_item_id = 'I1' and l.path = 'order_items/late.csv'",
        "update ops.runs set load_id_to = (select max(load_id) from raw.load_ledger)",
    )
    assert warehouse.failed("warehouse") == [RECONCILED.format("warehouse")]


def test_a_missing_table_is_an_error_that_names_it(warehouse: Warehouse) -> None:
    from ecommerce_dw.quality.gx import QualityError

    warehouse.execute("drop table marts_build.sales_summary cascade")
    with pytest.raises(QualityError, match="sales_summary"):
        warehouse.validate("marts")
