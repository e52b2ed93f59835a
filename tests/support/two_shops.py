"""A few days of both shops, small and with every kind of line."""

from __future__ import annotations

from tests.support.raw_rows import (
    RawRows,
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


def load_two_shops(raw: RawRows) -> None:
    """A few days of both shops with every kind of line; O9 stands alone on its day and has no items."""
    at = "2026-03-{:02} 12:00:00+00".format
    people = [customer(f"C{n}", at(1)) for n in range(1, 5)]
    things = [product(f"P{n}", at(1)) for n in range(1, 5)]
    raw.load("ecommerce", "customers", "2026-03-01", people)
    raw.load("ecommerce", "products", "2026-03-01", things)
    # C1, C3, P1 and P3 get a second version, P2 one of the same cost
    raw.load(
        "ecommerce",
        "customers",
        "2026-03-04",
        [customer("C1", at(4), city="Oslo"), customer("C3", at(4), city="Oslo")],
    )
    raw.load(
        "ecommerce",
        "products",
        "2026-03-04",
        [product("P1", at(4), cost=7), product("P2", at(4), price=12), product("P3", at(4), cost=7)],
    )
    raw.load(
        "ecommerce",
        "orders",
        "2026-03-02",
        [order("O1", at(2), goods=40), order("O2", at(2), customer_id="C2")],
    )
    raw.load(
        "ecommerce",
        "order_items",
        "2026-03-02",
        [
            item("I1", "O1", at(2)),
            item("I2", "O1", at(2), product_id="P2"),
            item("I3", "O2", at(2)),
        ],
    )
    raw.load(
        "ecommerce",
        "orders",
        "2026-03-05",
        [
            order("O2", at(2), customer_id="C2", order_status="cancelled", updated_at=at(5)),
            order("O3", at(5), customer_id=None),
        ],
    )
    # I9 waits for its order
    raw.load("ecommerce", "order_items", "2026-03-05", [item("I4", "O3", at(5)), item("I9", "O99", at(5))])
    raw.load(
        "ecommerce",
        "orders",
        "2026-03-06",
        [order("O9", at(6), goods=0, shipping_cost=0, tax_amount=0, total_amount=0)],
    )

    # RT2 is of a cancelled order, RT9 waits for its item
    raw.load(
        "ecommerce",
        "returns",
        "2026-03-05",
        [returned("RT1", "I4", at(5)), returned("RT2", "I3", at(5)), returned("RT9", "I99", at(5))],
    )

    # O2's second attempt is paid back; PM9 waits for its order
    raw.load(
        "ecommerce",
        "payments",
        "2026-03-05",
        [
            payment("PM1", "O2", at(2), status="failed"),
            payment("PM2", "O2", at(3)),
            payment("PM3", "O2", at(5), status="refunded"),
            payment("PM9", "O99", at(5)),
        ],
    )
    raw.load(
        "ecommerce",
        "inventory",
        "2026-03-05",
        [stock("P1", "2026-03-04", 3), stock("P1", "2026-03-05", 0, sold=3), stock("P9", "2026-03-05", 1)],
    )
    raw.load("ecommerce", "marketing_spend", "2026-03-05", [spend("2026-03-04"), spend("2026-03-05")])
    raw.load(
        "ecommerce",
        "web_events",
        "2026-03-05",
        [web_event("EV1", at(4)), web_event("EV2", at(5), event_type="purchase", product_id=None)],
    )

    def line(invoice: str, code: str, quantity: int, price: float, who: str | None) -> dict[str, object]:
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

    raw.load(
        "online_retail",
        "lines",
        "2010-12-01",
        [
            line("536365", "85123A", 6, 2.55, "17850.0"),
            line("536365", "85123A", 6, 2.55, "17850.0"),
            line("536365", "71053", 8, 3.39, "17850.0"),
            line("536365", "POST", 1, 18, "17850.0"),
            line("536366", "71053", 2, 3.39, None),
            line("536366", "22139", 56, 0, None),
            line("C536379", "85123A", -2, 2.55, "17850.0"),
            line("C536379", "D", -1, 27.5, "17850.0"),
        ],
    )
