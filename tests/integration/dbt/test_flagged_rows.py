"""What the warehouse leaves out, waits for or marks is counted by name, in ops.flagged_rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from tests.support.dbt_warehouse import DbtWarehouse, Shop
from tests.support.raw_rows import (
    Row,
    customer,
    item,
    order,
    payment,
    product,
    returned,
    spend,
    stock,
    web_event,
)

SHOP = "ecommerce"
DAY, NEXT_DAY = "2026-03-10", "2026-03-11"
AT = f"{DAY} 12:00:00+00"

Flags = dict[tuple[str, str], int]

#: One day of a shop in which nothing is to be flagged: rows of each entity.
SOUND: dict[str, list[Row]] = {
    "customers": [customer("C1", AT)],
    "products": [product("P1", AT)],
    "orders": [order("O1", AT), order("O2", AT)],
    "order_items": [item("I1", "O1", AT), item("I2", "O2", AT)],
    "payments": [
        payment("PM1", "O1", AT, status="failed"),
        payment("PM2", "O1", AT),
        payment("PM3", "O1", AT, status="refunded"),
    ],
    "returns": [returned("RT1", "I1", AT), returned("RT2", "I1", AT)],
    "inventory": [
        stock("P1", "2026-03-01", 7),
        stock("P1", "2026-03-02", 9, received=5, sold=3),
        # after a missing day, and after a recount at the month's start, there is nothing to compare with
        stock("P1", "2026-03-09", 40),
        stock("P1", "2026-03-31", 5),
        stock("P1", "2026-04-01", 50),
    ],
    "web_events": [web_event("EV1", AT), web_event("EV2", AT, customer_id=None, product_id=None)],
    "marketing_spend": [spend(DAY, impressions=50, clicks=50)],
}

#: What is delivered the next day, and what is flagged of it.
BROKEN: list[tuple[str, list[Row], Flags]] = [
    ("payments", [payment("PM9", "O9", AT)], {("payments", "orphan_payment_waiting"): 1}),
    (
        "payments",
        [payment("PM9", "O2", AT, amount=26.99)],
        {("payments", "captured_amount_mismatch"): 1},
    ),
    # captured twice: both payments of the order
    ("payments", [payment("PM9", "O1", AT)], {("payments", "captured_amount_mismatch"): 2}),
    ("payments", [payment("PM2", "O1", AT)], {("payments", "superseded_version"): 1}),
    ("returns", [returned("RT9", "I9", AT)], {("returns", "orphan_return_waiting"): 1}),
    (
        "returns",
        [returned("RT9", "I2", AT, quantity=3)],
        {("returns", "quantity_exceeds_item"): 1},
    ),
    # with the two that came before, more than was sold
    (
        "returns",
        [returned("RT9", "I1", AT, refund_amount=0)],
        {("returns", "quantity_exceeds_item"): 3},
    ),
    (
        "returns",
        [returned("RT9", "I2", AT, refund_amount=20.01)],
        {("returns", "refund_exceeds_item"): 1},
    ),
    ("returns", [returned("RT1", "I1", AT)], {("returns", "superseded_version"): 1}),
    ("inventory", [stock("P9", "2026-03-02", 9)], {("inventory", "unknown_product"): 1}),
    (
        "inventory",
        [stock("P1", "2026-03-03", 9, received=1, sold=2)],
        {("inventory", "stock_mismatch"): 1},
    ),
    # the corrected day follows from the one before no more
    (
        "inventory",
        [stock("P1", "2026-03-02", 8, received=5, sold=3)],
        {("inventory", "stock_mismatch"): 1, ("inventory", "superseded_version"): 1},
    ),
    (
        "marketing_spend",
        [spend(NEXT_DAY, clicks=1001)],
        {("marketing_spend", "clicks_exceed_impressions"): 1},
    ),
    # the same campaign in another spelling
    (
        "marketing_spend",
        [spend(DAY, channel=" Email", campaign="SPRING")],
        {("marketing_spend", "superseded_version"): 1},
    ),
    ("web_events", [web_event("EV9", AT, customer_id="C9")], {("web_events", "unknown_customer"): 1}),
    ("web_events", [web_event("EV9", AT, product_id="P9")], {("web_events", "unknown_product"): 1}),
    ("web_events", [web_event("EV1", AT)], {("web_events", "superseded_version"): 1}),
    # its cancellation took back what its returns took back before
    (
        "orders",
        [order("O1", AT, order_status="cancelled", updated_at=f"{NEXT_DAY} 12:00:00+00")],
        {("orders", "superseded_version"): 1, ("returns", "return_of_cancelled_order"): 2},
    ),
    ("order_items", [item("I9", "O9", AT)], {("order_items", "orphan_item_waiting"): 1}),
    (
        "order_items",
        [item("I9", "O9", AT, line_total=19)],
        {("order_items", "orphan_item_waiting"): 1, ("order_items", "line_total_mismatch"): 1},
    ),
    ("order_items", [item("I1", "O1", AT)], {("order_items", "superseded_version"): 1}),
]


@pytest.fixture(scope="module")
def sound(built_once: DbtWarehouse) -> Iterator[DbtWarehouse]:
    """A warehouse built from a day in which nothing is to be flagged."""
    shop = built_once.reset()
    for entity, rows in SOUND.items():
        shop.load(SHOP, entity, DAY, rows)
    built_once.run()
    assert _flags(built_once) == {}
    yield built_once
    built_once.close()


@pytest.mark.parametrize(("entity", "rows", "expected"), BROKEN)
def test_every_kind_is_counted_by_name(
    sound: DbtWarehouse, entity: str, rows: Sequence[Row], expected: Flags
) -> None:
    assert sound.shop is not None
    sound.shop.load(SHOP, entity, NEXT_DAY, rows)
    try:
        assert _counted(sound, entity) == expected
    finally:
        sound.shop.withdraw(SHOP, entity, NEXT_DAY)


def test_events_are_flagged_as_long_as_nothing_is_known_of_what_they_name(
    warehouse: DbtWarehouse, shop: Shop
) -> None:
    shop.load(SHOP, "web_events", DAY, [web_event("EV1", AT), web_event("EV2", AT)])
    warehouse.run()
    unknown = {("web_events", "unknown_customer"): 2, ("web_events", "unknown_product"): 2}
    assert _flags(warehouse) == unknown

    shop.load(SHOP, "customers", NEXT_DAY, SOUND["customers"])
    shop.load(SHOP, "products", NEXT_DAY, SOUND["products"])
    warehouse.run()
    assert _flags(warehouse) == {}

    shop.withdraw(SHOP, "customers", NEXT_DAY)
    shop.withdraw(SHOP, "products", NEXT_DAY)
    warehouse.run()
    assert _flags(warehouse) == unknown
    assert warehouse.fingerprints() == warehouse.full_fingerprints()


def _counted(warehouse: DbtWarehouse, entity: str) -> Flags:
    """The flags after a build of what they are counted from; facts only where the entity goes into them."""
    models = {
        "orders": "tag:layer_warehouse",
        "order_items": "tag:layer_warehouse",
        "web_events": "dim_customers dim_products int_flagged_web_events flagged_rows",
    }
    warehouse.run(select=models.get(entity, "flagged_rows"))
    return _flags(warehouse)


def _flags(warehouse: DbtWarehouse) -> Flags:
    rows = warehouse.query("select source_system, entity, kind, row_count from ops.flagged_rows")
    assert {source for source, *_ in rows} <= {SHOP}
    return {(entity, kind): count for _, entity, kind, count in rows}
