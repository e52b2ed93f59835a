"""Law 5 on the warehouse layer: after any sequence of runs, incremental equals a full refresh."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

import pytest

from tests.support.dbt_warehouse import DbtWarehouse, Shop
from tests.support.raw_rows import customer, item, order, product

SHOP = "ecommerce"


def at(day: int, hour: int = 10) -> str:
    """A moment of January 2026."""
    return f"2026-01-{day:02d} {hour:02d}:00:00+00"


def first_day(shop: Shop) -> None:
    """Two customers, two products, three orders with their items."""
    shop.load(SHOP, "customers", "2026-01-05", [customer("C1", at(1)), customer("C2", at(2))])
    shop.load(SHOP, "products", "2026-01-05", [product("P1", at(1)), product("P2", at(1), cost=3)])
    shop.load(
        SHOP,
        "orders",
        "2026-01-05",
        [
            order("O1", at(5), order_status="pending", goods=40),
            order("O2", at(5, 11), customer_id="C2", order_status="pending"),
            order("O3", at(5, 12), customer_id=None, order_status="pending"),
        ],
    )
    shop.load(
        SHOP,
        "order_items",
        "2026-01-05",
        [
            item("I1", "O1", at(5)),
            item("I2", "O1", at(5), product_id="P2"),
            item("I3", "O2", at(5, 11)),
            item("I4", "O3", at(5, 12), product_id="P2"),
        ],
    )


def new_day(shop: Shop) -> None:
    """A next day, in another month, with a new customer and a new product."""
    shop.load(SHOP, "customers", "2026-02-01", [customer("C3", "2026-02-01 08:00+00")])
    shop.load(SHOP, "products", "2026-02-01", [product("P3", "2026-02-01 08:00+00")])
    shop.load(SHOP, "orders", "2026-02-01", [order("O4", "2026-02-01 09:00+00", customer_id="C3", goods=20)])
    shop.load(SHOP, "order_items", "2026-02-01", [item("I5", "O4", "2026-02-01 09:00+00", product_id="P3")])


def old_order_is_cancelled(shop: Shop) -> None:
    """A status update of an old order."""
    shop.load(
        SHOP,
        "orders",
        "2026-02-02",
        [order("O1", at(5), order_status="cancelled", goods=40, updated_at="2026-02-02 07:00+00")],
    )


def cancellation_is_taken_back(shop: Shop) -> None:
    """A later version with another status."""
    shop.load(
        SHOP,
        "orders",
        "2026-02-03",
        [order("O1", at(5), order_status="shipped", goods=40, updated_at="2026-02-03 07:00+00")],
    )


def order_changes_its_day(shop: Shop) -> None:
    """A correction moves an order to another month."""
    shop.load(
        SHOP,
        "orders",
        "2026-02-04",
        [
            order(
                "O2", "2025-12-30 10:00+00", customer_id="C2", order_status="pending",
                updated_at="2026-02-04 07:00+00",
            )
        ],
    )  # fmt: skip


def rows_disappear(shop: Shop) -> None:
    """The first day's files come again without order O3 and without item I2."""
    shop.load(
        SHOP,
        "orders",
        "2026-01-05",
        [
            order("O1", at(5), order_status="pending", goods=40),
            order("O2", at(5, 11), customer_id="C2", order_status="pending"),
        ],
    )
    shop.load(SHOP, "order_items", "2026-01-05", [item("I1", "O1", at(5)), item("I3", "O2", at(5, 11))])


def orders_file_is_withdrawn(shop: Shop) -> None:
    """All orders of the first day go; their items wait."""
    shop.withdraw(SHOP, "orders", "2026-01-05")


def late_customer_version(shop: Shop) -> None:
    """A version valid before the orders arrives after them."""
    shop.load(SHOP, "customers", "2026-02-05", [customer("C1", at(4), customer_segment="gold")])


def late_product_version(shop: Shop) -> None:
    """Another cost that was valid when the orders were placed."""
    shop.load(SHOP, "products", "2026-02-05", [product("P1", at(4), cost=9)])


def inferred_customer_and_product(shop: Shop) -> None:
    """An order of somebody nobody has told us about, with an unknown product."""
    shop.load(SHOP, "orders", "2026-02-06", [order("O6", "2026-02-06 09:00+00", customer_id="C9")])
    shop.load(SHOP, "order_items", "2026-02-06", [item("I6", "O6", "2026-02-06 09:00+00", product_id="P9")])


def they_arrive(shop: Shop) -> None:
    """The inferred members' own rows."""
    shop.load(SHOP, "customers", "2026-02-07", [customer("C9", "2026-02-07 08:00+00")])
    shop.load(SHOP, "products", "2026-02-07", [product("P9", "2026-02-07 08:00+00", cost=1)])


def item_moves(shop: Shop) -> None:
    """A later version of item I1 belongs to another order."""
    shop.load(SHOP, "order_items", "2026-02-08", [item("I1", "O2", at(5), created_at="2026-02-08 08:00+00")])


def move_is_withdrawn(shop: Shop) -> None:
    """… and goes back when that file is withdrawn."""
    shop.withdraw(SHOP, "order_items", "2026-02-08")


def item_before_its_order(shop: Shop) -> None:
    """An item waits."""
    shop.load(SHOP, "order_items", "2026-02-09", [item("I8", "O8", "2026-02-09 08:00+00")])


def its_order_arrives(shop: Shop) -> None:
    """… until its order comes."""
    shop.load(SHOP, "orders", "2026-02-10", [order("O8", "2026-02-09 08:00+00")])


def rejected_item(shop: Shop) -> None:
    """An item of O1 is rejected: the order is incomplete."""
    shop.load(
        SHOP, "order_items", "2026-02-11", [], rejected=[(2, {"order_item_id": "I9", "order_id": "O1"})]
    )


def same_rows_again(shop: Shop) -> None:
    """A file that says what is known already."""
    shop.load(SHOP, "customers", "2026-02-12", [customer("C1", at(9))])
    shop.load(SHOP, "order_items", "2026-02-12", [item("I3", "O2", at(5, 11))])


def retail_day(shop: Shop) -> None:
    """A second shop, with a guest, a cancellation, a fee and a duplicate line."""

    def line(
        invoice: str, code: str, quantity: int, price: str, who: str | None = "17850.0"
    ) -> dict[str, object]:
        return {
            "invoice_no": invoice,
            "stock_code": code,
            "description": f"THING {code}",
            "quantity": quantity,
            "invoice_date": "2010-12-01 08:26:00+00",
            "unit_price": price,
            "customer_id": who,
            "country": "United Kingdom",
        }

    shop.load(
        "online_retail",
        "lines",
        "2010-12-01",
        [
            line("536365", "85123A", 6, "2.55"),
            line("536365", "85123A", 6, "2.55"),
            line("536365", "POST", 1, "18"),
            line("C536379", "85123A", -1, "2.55"),
            line("536366", "22633", 6, "1.853", None),
            line("536366", "22634", 6, "0", None),
        ],
    )


def retail_day_corrected(shop: Shop) -> None:
    """The same file with a line less, a line more, and another customer."""
    shop.load(
        "online_retail",
        "lines",
        "2010-12-01",
        [
            {
                "invoice_no": "536366",
                "stock_code": "22633",
                "description": "THING 22633",
                "quantity": 7,
                "invoice_date": "2010-12-01 08:28:00+00",
                "unit_price": "1.85",
                "customer_id": "13047.0",
                "country": "France",
            }
        ],
    )


Step = Callable[[Shop], None]

SEQUENCES: dict[str, list[Step]] = {
    "a new day, a cancellation and its reversal": [
        new_day, old_order_is_cancelled, cancellation_is_taken_back,
    ],
    "an order that changes its day, then disappears": [
        order_changes_its_day, rows_disappear, orders_file_is_withdrawn,
    ],
    "late dimension versions": [late_customer_version, late_product_version, same_rows_again],
    "inferred members that arrive": [inferred_customer_and_product, they_arrive],
    "an item that moves and comes back": [item_moves, move_is_withdrawn],
    "an item before its order, a rejected item": [item_before_its_order, its_order_arrives, rejected_item],
    "a second shop, corrected": [retail_day, retail_day_corrected],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SEQUENCES)
def test_incremental_runs_end_where_a_full_refresh_does(
    name: str, warehouse: DbtWarehouse, shop: Shop
) -> None:
    first_day(shop)
    warehouse.run()
    for step in SEQUENCES[name]:
        before = warehouse.fingerprints()
        step(shop)
        warehouse.run()
        after = warehouse.fingerprints()
        assert after == warehouse.full_fingerprints(), step.__name__
        assert after != before, f"{step.__name__} changed nothing"


def test_all_steps_taken_in_by_one_run_end_the_same(warehouse: DbtWarehouse, shop: Shop) -> None:
    first_day(shop)
    warehouse.run()
    for step in [step for steps in SEQUENCES.values() for step in steps]:
        step(shop)
    warehouse.run()
    assert warehouse.fingerprints() == warehouse.full_fingerprints()


@pytest.mark.slow
def test_all_steps_one_after_the_other(warehouse: DbtWarehouse, shop: Shop) -> None:
    first_day(shop)
    for step in [step for steps in SEQUENCES.values() for step in steps]:
        step(shop)
        warehouse.run()
    assert warehouse.fingerprints() == warehouse.full_fingerprints()


def test_a_run_with_nothing_new_changes_and_touches_nothing(warehouse: DbtWarehouse, shop: Shop) -> None:
    first_day(shop)
    warehouse.run()
    before = warehouse.fingerprints()
    touched = warehouse.query("select count(*) from ops.touched")
    versions = "select max(xmin::text::bigint) from warehouse.fact_orders"
    written = warehouse.query(versions)
    warehouse.run()
    assert warehouse.fingerprints() == before
    assert warehouse.query("select count(*) from ops.touched") == touched
    assert warehouse.query(versions) == written


def test_a_model_that_fails_between_its_parent_and_its_child_catches_up(
    warehouse: DbtWarehouse, shop: Shop
) -> None:
    first_day(shop)
    warehouse.run()
    late_customer_version(shop)
    order_changes_its_day(shop)
    warehouse.query(
        "create function public.refuse() returns trigger language plpgsql as "
        "$$ begin raise exception 'no room'; end $$;"
        "create trigger refuse before insert on warehouse.fact_orders "
        "for each row execute function public.refuse()"
    )
    statuses = warehouse.run(fails=True)
    assert statuses["dim_customers"] == "success"
    assert statuses["fact_orders"] == "error"
    assert statuses["fact_order_items"] == "skipped"
    marks = dict(warehouse.query("select model, load_id from ops.model_marks"))
    assert marks["fact_orders"] < marks["dim_customers"]

    warehouse.query("drop trigger refuse on warehouse.fact_orders; drop function public.refuse()")
    new_day(shop)
    warehouse.run()
    assert warehouse.fingerprints() == warehouse.full_fingerprints()


def test_a_parent_rebuilt_alone_is_seen_by_its_child_without_a_new_load(
    warehouse: DbtWarehouse, shop: Shop
) -> None:
    first_day(shop)
    warehouse.run()
    good = warehouse.fingerprints()
    # As if the parent's code had been wrong before: the child holds what came of it.
    warehouse.query("update warehouse.fact_orders set customer_id = 'X', order_date = order_date + 1")
    warehouse.query("update warehouse.fact_order_items set customer_id = 'X'")
    warehouse.build(select="fact_orders", full_refresh=True)
    warehouse.build(select="fact_order_items")
    assert warehouse.fingerprints() == good


def test_a_missing_table_is_built_in_full_whatever_its_mark_says(warehouse: DbtWarehouse, shop: Shop) -> None:
    first_day(shop)
    warehouse.run()
    good = warehouse.fingerprints()
    warehouse.query("drop table warehouse.fact_orders cascade")
    warehouse.run()
    assert warehouse.fingerprints() == good


def test_a_load_after_the_freeze_waits_for_the_next_run_and_is_not_lost(
    warehouse: DbtWarehouse, shop: Shop
) -> None:
    first_day(shop)
    warehouse.freeze()
    new_day(shop)
    warehouse.build()
    warehouse.run()
    assert warehouse.fingerprints() == warehouse.full_fingerprints()


def test_a_changed_macro_computes_anew_what_is_made_with_it(
    warehouse: DbtWarehouse, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also through another macro: the facts call line_amounts(), and that calls gross_amount()."""
    first_day(shop)
    warehouse.run()
    marks = "select model, definition from ops.model_marks order by 1"
    gross = "select sum(gross_amount) from warehouse.fact_order_items"
    before, [(amount,)] = dict(warehouse.query(marks)), warehouse.query(gross)
    macro = warehouse.incremental.manifest.macros["macro.ecommerce_dw.gross_amount"]
    doubled = macro.macro_sql.replace("* {{ unit_price }}", "* 2 * {{ unit_price }}")
    monkeypatch.setattr(macro, "macro_sql", doubled)

    warehouse.run()

    assert amount > 0
    assert warehouse.query(gross) == [(2 * amount,)]
    changed = {model for model, definition in warehouse.query(marks) if definition != before[model]}
    assert changed == {"fact_orders", "fact_order_items"}


def item_moves_to_a_touched_order_of_a_new_customer(shop: Shop) -> None:
    """I1 leaves order O1, which nothing else touches, for O2, which now is a customer's nobody knows yet."""
    shop.load(SHOP, "order_items", "2026-02-10", [item("I1", "O2", "2026-02-10 09:00+00")])
    shop.load(SHOP, "customers", "2026-02-10", [customer("C9", "2026-01-01 08:00+00")])
    shop.load(SHOP, "orders", "2026-02-10", [order("O2", at(5, 11), customer_id="C9", updated_at=at(20))])


def item_leaves_a_touched_order(shop: Shop) -> None:
    """I3 leaves O2 for O1."""
    shop.load(SHOP, "order_items", "2026-02-10", [item("I3", "O1", "2026-02-10 09:00+00")])


@pytest.mark.slow
@pytest.mark.parametrize(
    "late", [item_moves_to_a_touched_order_of_a_new_customer, item_leaves_a_touched_order]
)
def test_what_is_loaded_between_freeze_and_build_leaves_nothing_twice_and_nothing_out(
    warehouse: DbtWarehouse, shop: Shop, late: Callable[[Shop], None]
) -> None:
    first_day(shop)
    warehouse.run()
    shop.load(SHOP, "orders", "2026-02-03", [order("O2", at(5, 11), customer_id="C2", updated_at=at(7))])
    warehouse.freeze()
    late(shop)
    warehouse.build()
    assert warehouse.fingerprints() == warehouse.full_fingerprints()
    warehouse.run()
    assert warehouse.fingerprints() == warehouse.full_fingerprints()


def test_a_refused_correction_leaves_an_incomplete_order_incomplete(
    warehouse: DbtWarehouse, shop: Shop
) -> None:
    """Until other bytes come, what was loaded stands, and so does the item that it lacks."""
    first_day(shop)
    warehouse.run()
    rejected_item(shop)
    warehouse.run()
    shop.refuse(SHOP, "order_items", "2026-02-11")
    warehouse.run()
    assert warehouse.query("select count(*) from warehouse.fact_orders where is_incomplete") == [(1,)]
    assert warehouse.fingerprints() == warehouse.full_fingerprints()


# ---- what the facts say -----------------------------------------------------------------------------------


def test_a_cancellation_counts_on_its_own_day_with_its_cost(warehouse: DbtWarehouse, shop: Shop) -> None:
    first_day(shop)
    old_order_is_cancelled(shop)
    warehouse.run()
    [row] = warehouse.query(
        "select cancelled_date, gross_amount, discount_amount, cancelled_amount, has_total_mismatch "
        "from warehouse.fact_orders where order_id = 'O1'"
    )
    assert row == (dt.date(2026, 2, 2), Decimal(44), Decimal(4), Decimal(40), False)
    assert warehouse.query(
        "select cancelled_amount, cancelled_quantity, cost_amount, cancelled_cost_amount, cancelled_date "
        "from warehouse.fact_order_items where order_item_id = 'I2'"
    ) == [(Decimal(20), 2, Decimal(6), Decimal(6), dt.date(2026, 2, 2))]


def test_a_late_version_repoints_only_the_facts_inside_its_interval(
    warehouse: DbtWarehouse, shop: Shop
) -> None:
    first_day(shop)
    shop.load(SHOP, "orders", "2026-01-03", [order("O0", at(3), goods=0)])
    warehouse.run()
    last = warehouse.query("select max(touched_seq) from ops.touched")[0][0]
    late_customer_version(shop)
    warehouse.run()
    changed = warehouse.query(
        f"select distinct key from ops.touched where model = 'fact_orders' and touched_seq > {last}"
    )
    assert changed == [("O1",)]
    assert warehouse.query(
        "select o.order_id, c.customer_segment from warehouse.fact_orders as o "
        "join warehouse.dim_customers as c using (customer_key) where o.customer_id = 'C1' order by 1"
    ) == [("O0", "regular"), ("O1", "gold")]


def test_an_item_waits_for_its_order_and_is_counted_meanwhile(warehouse: DbtWarehouse, shop: Shop) -> None:
    first_day(shop)
    item_before_its_order(shop)
    warehouse.run()
    waiting = "select row_count from ops.flagged_rows where kind = 'orphan_item_waiting'"
    assert warehouse.query(waiting) == [(1,)]
    its_order_arrives(shop)
    warehouse.run()
    assert warehouse.query(waiting) == []
    assert warehouse.query("select count(*) from warehouse.fact_order_items where order_id = 'O8'") == [(1,)]


def test_the_parts_of_the_second_shop_add_up_to_the_file(warehouse: DbtWarehouse, shop: Shop) -> None:
    retail_day(shop)
    warehouse.run()
    [(gross, fee, adjustment, cancelled, total)] = warehouse.query(
        "select sum(gross_amount), sum(fee_amount), sum(adjustment_amount), sum(cancelled_amount), "
        "sum(line_total) from warehouse.fact_order_items"
    )
    [(delivered,)] = warehouse.query("select sum(quantity * unit_price) from raw.online_retail__lines")
    assert (gross, fee, adjustment, cancelled) == (Decimal("41.718"), Decimal(18), 0, Decimal("2.55"))
    assert total == delivered == gross + fee + adjustment - cancelled
