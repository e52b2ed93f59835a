"""Laws 2, 5 and 10 on daily states and marts: after every change they are what a full refresh gives, and
publishing the touched rows brings `marts` to the same.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ecommerce_dw.fingerprint import fingerprint
from ecommerce_dw.publish import publish
from ecommerce_dw.settings import Settings
from tests.support.dbt_warehouse import DbtWarehouse, Shop
from tests.support.raw_rows import customer, item, order, product

SHOP = "ecommerce"
LAYERS = "tag:layer_warehouse tag:layer_marts"


def retail_line(invoice: str, at: str, **values: object) -> dict[str, object]:
    """A delivered line of the other shop."""
    return {
        "invoice_no": invoice,
        "stock_code": "85123A",
        "description": "HOLDER",
        "quantity": 6,
        "invoice_date": at,
        "unit_price": "2.55",
        "customer_id": "17850.0",
        "country": "United Kingdom",
    } | values


def first_days(shop: Shop) -> None:
    """Three customers and a guest over three months, in two shops."""
    shop.load(
        SHOP,
        "customers",
        "2026-01-05",
        [customer(c, "2026-01-01 08:00+00") for c in ("C1", "C2", "C3", "C4")],
    )
    shop.load(
        SHOP,
        "products",
        "2026-01-05",
        [
            product("P1", "2026-01-01 08:00+00"),
            product("P2", "2026-01-01 08:00+00", category="Toys", cost=3),
            product("P3", "2026-01-01 08:00+00", category=None, cost=None),
        ],
    )
    orders, items = [], []
    for number, (who, at) in enumerate(
        [
            ("C1", "2025-11-30 10:00+00"),
            ("C1", "2025-12-01 10:00+00"),
            ("C1", "2026-01-05 10:00+00"),
            ("C2", "2026-01-05 11:00+00"),
            (None, "2026-01-05 12:00+00"),
            ("C3", "2026-01-04 23:30+00"),
        ],
        start=1,
    ):
        orders.append(order(f"O{number}", at, customer_id=who, order_status="pending", goods=40))
        items.append(item(f"I{number}a", f"O{number}", at))
        items.append(item(f"I{number}b", f"O{number}", at, product_id="P3" if number == 6 else "P2"))
    shop.load(SHOP, "orders", "2026-01-05", orders)
    shop.load(SHOP, "order_items", "2026-01-05", items)
    shop.load(
        "online_retail",
        "lines",
        "2010-12-01",
        [
            retail_line("536365", "2010-12-01 08:26+00"),
            retail_line("536365", "2010-12-01 08:26+00"),
            retail_line("536365", "2010-12-01 08:26+00", stock_code="POST", quantity=1, unit_price="18"),
            retail_line("C536379", "2010-12-01 09:00+00", quantity=-1),
            retail_line("536366", "2010-12-01 09:10+00", customer_id=None, stock_code="22633"),
        ],
    )


def new_day(shop: Shop) -> None:
    """The next day: a known customer, a new one, and nothing in the other shop."""
    at = "2026-01-06 09:00+00"
    shop.load(SHOP, "customers", "2026-01-06", [customer("C5", at)])
    shop.load(
        SHOP, "orders", "2026-01-06", [order("O7", at, customer_id="C5"), order("O8", at, customer_id="C2")]
    )
    shop.load(
        SHOP, "order_items", "2026-01-06", [item("I7", "O7", at), item("I8", "O8", at, product_id="P2")]
    )


def old_order_is_cancelled(shop: Shop) -> None:
    """An order of November is cancelled in January: two days, two months, two quarters are touched."""
    at = "2025-11-30 10:00+00"
    shop.load(
        SHOP,
        "orders",
        "2026-01-07",
        [order("O1", at, order_status="cancelled", goods=40, updated_at="2026-01-07 08:00+00")],
    )


def late_file(shop: Shop) -> None:
    """A file for a day long past."""
    at = "2025-10-10 10:00+00"
    shop.load(SHOP, "orders", "2025-10-10", [order("O9", at, customer_id="C4")])
    shop.load(SHOP, "order_items", "2025-10-10", [item("I9", "O9", at, product_id="P2")])


def order_moves_to_another_customer_and_day(shop: Shop) -> None:
    """A correction leaves its old customer, day and month behind."""
    shop.load(
        SHOP,
        "orders",
        "2026-01-08",
        [order("O2", "2025-12-30 10:00+00", customer_id="C3", goods=40, updated_at="2026-01-08 08:00+00")],
    )


def product_gets_another_category(shop: Shop) -> None:
    """Whoever bought it may have another favourite."""
    shop.load(
        SHOP, "products", "2026-01-08", [product("P1", "2026-01-08 09:00+00", category="Garden", price=12)]
    )


def cost_becomes_known_late(shop: Shop) -> None:
    """A version of P3 with a cost, valid before it was sold: its margins become known."""
    shop.load(SHOP, "products", "2026-01-09", [product("P3", "2026-01-02 09:00+00", category=None, cost=2)])


def other_shop_is_corrected(shop: Shop) -> None:
    """The same file with a line less and one more."""
    shop.load(
        "online_retail",
        "lines",
        "2010-12-01",
        [
            retail_line("536365", "2010-12-01 08:26+00"),
            retail_line("536366", "2010-12-01 09:10+00", customer_id="13047.0", stock_code="22633"),
        ],
    )


def items_disappear(shop: Shop) -> None:
    """The new day's items come again without I8: its order stays, without lines."""
    shop.load(SHOP, "order_items", "2026-01-06", [item("I7", "O7", "2026-01-06 09:00+00")])


def day_is_withdrawn(shop: Shop) -> None:
    """The new day's orders and items go: C5 has no order any more."""
    shop.withdraw(SHOP, "orders", "2026-01-06")
    shop.withdraw(SHOP, "order_items", "2026-01-06")


STEPS: list[tuple[Callable[[Shop], None], bool]] = [
    (new_day, False),
    (old_order_is_cancelled, True),
    (late_file, False),
    (order_moves_to_another_customer_and_day, True),
    (product_gets_another_category, False),
    (cost_becomes_known_late, True),
    (other_shop_is_corrected, False),
    (items_disappear, True),
    (day_is_withdrawn, True),
]


def state(settings: Settings, schema: str) -> dict[str, tuple[int, str]]:
    """Rows and checksum of each table of a schema."""
    return {entry.table: (entry.rows, entry.checksum) for entry in fingerprint(settings, [schema])}


@pytest.mark.slow
def test_after_every_change_the_marts_are_those_of_a_full_refresh(
    warehouse: DbtWarehouse, shop: Shop
) -> None:
    first_days(shop)
    warehouse.run(select=LAYERS)
    publish(warehouse.settings)
    for step, is_compared in STEPS:
        step(shop)
        published = state(warehouse.settings, "marts")
        warehouse.run(select=LAYERS)
        assert state(warehouse.settings, "marts") == published, "a build alone changes nothing published"
        summary = publish(warehouse.settings)
        assert not any(table.is_full for table in summary.tables), step.__name__
        assert summary.changed > 0, step.__name__
        assert state(warehouse.settings, "marts") == state(warehouse.settings, "marts_build"), step.__name__
        if is_compared:
            incremental = {s: state(warehouse.settings, s) for s in ("intermediate", "marts_build")}
            warehouse.close()
            copied = warehouse.full.settings
            warehouse._copy(warehouse.settings.warehouse_db, copied.warehouse_db)
            shop.connection = warehouse._connect()
            warehouse.build(full_refresh=True, select=LAYERS, database=warehouse.full)
            full = {s: state(copied, s) for s in ("intermediate", "marts_build")}
            assert incremental == full, step.__name__


@pytest.mark.slow
def test_a_run_with_nothing_new_touches_and_publishes_nothing(warehouse: DbtWarehouse) -> None:
    before = warehouse.query("select max(touched_seq) from ops.touched")
    warehouse.run(select=LAYERS)
    assert warehouse.query("select max(touched_seq) from ops.touched") == before
    assert publish(warehouse.settings).changed == 0


@pytest.mark.slow
def test_all_data_tests_of_the_marts_pass_on_touched_days_and_on_everything(warehouse: DbtWarehouse) -> None:
    for _ in ("since the last publication", "with no publication"):
        statuses = warehouse.build("test", select="tag:layer_marts,test_type:data")
        assert set(statuses.values()) == {"pass"}
        warehouse.query("delete from ops.publications")
