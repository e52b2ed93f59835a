"""A shop small enough to know every row of: ten customers, five products, five months, all nine entities.

What happened is written down once, by people, products, orders and visits; `deliveries` makes of it the files
that a source would have delivered day by day, so that it comes in through the loader.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ecommerce_dw.contracts.model import Contract
from tests.support import raw_rows as rows

SHOP = "ecommerce"
#: The last business date: all figures are as of it.
AS_OF = dt.date(2026, 1, 15)

Contracts = Mapping[str, Mapping[str, Contract]]
#: The rows of each file, by entity and business date.
Deliveries = dict[tuple[str, dt.date], list[dict[str, Any]]]


class Order(NamedTuple):
    """An order and its lines by product and quantity; it was placed, paid and known of on one day."""

    order_id: str
    customer_id: str | None
    day: str
    lines: Sequence[tuple[str, int]]
    shipping: str = "standard"
    #: Days until it was delivered; None means not yet.
    days: int | None = 4
    cancelled_on: str | None = None


#: City, state and country; registration; acquisition channel as recorded by the shop; consent.
CUSTOMERS: dict[str, tuple[tuple[str, str, str], str, str | None, bool]] = {
    "C01": (("Berlin", "BE", "DE"), "2025-08-01", "paid_search", True),
    "C02": (("Berlin", "BE", "DE"), "2025-08-01", "email", True),
    "C03": (("Hamburg", "HH", "DE"), "2025-08-15", "organic_search", True),
    "C04": (("Vienna", "W", "AT"), "2025-09-01", "paid_search", True),
    "C05": (("Vienna", "W", "AT"), "2025-09-01", "email", False),
    "C06": (("Hamburg", "HH", "DE"), "2025-10-01", "direct", True),
    "C07": (("Paris", "IDF", "FR"), "2025-11-10", "email", True),
    "C08": (("Paris", "IDF", "FR"), "2025-11-10", None, True),
    "C09": (("Hamburg", "HH", "DE"), "2025-09-20", "social", True),
    "C10": (("Berlin", "BE", "DE"), "2025-10-10", "referral", True),
}
#: Category, price and cost. P6 was never sold.
PRODUCTS = {
    "P1": ("Lighting", 20, 12),
    "P2": ("Lighting", 5, 2),
    "P3": ("Furniture", 50, 30),
    "P4": ("Furniture", 100, 60),
    "P5": ("Textiles", 30, 15),
    "P6": ("Textiles", 10, 5),
}
#: P1 became dearer.
NEW_PRICE = ("P1", "2025-10-01", 22)

ORDERS = (
    Order("O01", "C01", "2025-08-05", [("P1", 2), ("P2", 4)]),
    Order("O02", "C02", "2025-08-12", [("P3", 1)], "express", 3),
    Order("O03", "C03", "2025-08-20", [("P1", 1), ("P2", 2)]),
    Order("O04", "C04", "2025-09-03", [("P4", 1)]),
    Order("O05", "C01", "2025-09-10", [("P1", 4), ("P2", 3)]),
    Order("O06", "C05", "2025-09-17", [("P5", 3)]),
    Order("O07", "C09", "2025-09-24", [("P2", 2)]),
    Order("O08", "C02", "2025-10-06", [("P1", 2), ("P2", 2)]),
    Order("O09", "C06", "2025-10-09", [("P4", 1), ("P5", 1)], "express", 2),
    Order("O10", "C03", "2025-10-14", [("P1", 3), ("P2", 4)]),
    Order("O11", "C10", "2025-10-14", [("P3", 1)]),
    Order("O12", "C04", "2025-10-22", [("P3", 2)]),
    Order("O13", "C01", "2025-11-05", [("P1", 2), ("P2", 2)]),
    Order("O14", "C02", "2025-11-07", [("P4", 1)], "standard", 12),
    Order("O15", "C08", "2025-11-12", [("P1", 1), ("P2", 2)], "pickup", 0),
    Order("O16", "C07", "2025-11-19", [("P5", 1)]),
    Order("O17", "C05", "2025-12-02", [("P1", 1), ("P2", 1)]),
    Order("O18", "C08", "2025-12-03", [("P3", 1), ("P2", 2)]),
    Order("O19", "C06", "2025-12-10", [("P5", 2)]),
    Order("O20", None, "2025-12-15", [("P1", 1)]),
    Order("O21", "C03", "2025-12-18", [("P4", 1), ("P3", 1)]),
    Order("O22", "C05", "2025-12-20", [("P3", 1)], days=None, cancelled_on="2025-12-22"),
    Order("O23", "C01", "2026-01-05", [("P1", 2), ("P2", 1)], days=None),
)
#: Of these items one unit came back, its price was paid back.
RETURNS = (("R1", "O05-1", "2025-09-25", 20), ("R2", "O12-1", "2025-11-03", 50))

#: Session, customer, day, the visitor's way (utm_medium, utm_campaign), device, the order placed in it.
SESSIONS = (
    ("S1", "C01", "2025-08-05", ("cpc", "brand"), "desktop", "O01"),
    ("S2", "C05", "2025-09-17", ("email", "autumn"), "mobile", "O06"),
    ("S3", None, "2025-10-02", ("cpc", "brand"), "desktop", None),
    ("S4", "C02", "2025-11-07", (None, None), "desktop", "O14"),
    ("S5", "C08", "2025-11-12", ("email", "autumn"), "mobile", "O15"),
    ("S6", "C08", "2025-12-03", (None, None), "mobile", "O18"),
    ("S7", "C03", "2025-12-16", ("social", "gifts"), "tablet", None),
    ("S8", "C01", "2026-01-05", ("cpc", "brand"), "desktop", "O23"),
)
#: Day, channel, campaign, impressions, clicks, spend.
SPEND = (
    ("2025-08-04", "paid_search", "brand", 1000, 40, 10),
    ("2025-08-18", "paid_search", "brand", 1000, 30, 8),
    ("2025-09-15", "email", "autumn", 500, 25, 5),
    ("2025-10-01", "paid_search", "brand", 1200, 50, 12),
    ("2025-11-11", "email", "autumn", 600, 30, 6),
    ("2025-12-15", "social", "gifts", 2000, 60, 15),
    ("2026-01-04", "paid_search", "brand", 900, 35, 9),
)
#: Stock was counted on three days: product, then what lay there at the end of each and what was sold on it.
STOCK_DAYS = ("2025-12-31", "2026-01-14", str(AS_OF))
STOCK = {"P1": (30, 28, 26), "P2": (50, 49, 49), "P3": (12, 12, 0), "P4": (5, 5, 5), "P5": (20, 20, 19)}


def deliveries() -> Deliveries:
    """All rows, in the file of the day that they were known on."""
    found: Deliveries = defaultdict(list)
    for customer_id, (place, registered, channel, opted_in) in CUSTOMERS.items():
        version = customer_version(customer_id, registered, place, channel, opted_in)
        found["customers", dt.date.fromisoformat(registered)].append(version)
    # C02 moved, no longer wants mail, and was found to have come by social media
    moved = customer_version(
        "C02", "2025-10-20", ("Graz", "ST", "AT"), "social", False, registration_date="2025-08-01"
    )
    found["customers", dt.date(2025, 10, 20)].append(moved)
    for product_id in PRODUCTS:
        found["products", dt.date(2025, 8, 1)].append(product_version(product_id, "2025-08-01"))
    product_id, day, price = NEW_PRICE
    found["products", dt.date.fromisoformat(day)].append(product_version(product_id, day, price=price))
    for order in ORDERS:
        _deliver_order(found, order)
    for return_id, item_id, day, refund in RETURNS:
        back = rows.returned(return_id, item_id, f"{day} 12:00:00+00", refund_amount=refund)
        found["returns", dt.date.fromisoformat(day)].append(back)
    for session in SESSIONS:
        found["web_events", dt.date.fromisoformat(session[2])] += _events(*session)
    for day, channel, campaign, impressions, clicks, amount in SPEND:
        found["marketing_spend", dt.date.fromisoformat(day)].append(
            rows.spend(
                day, channel=channel, campaign=campaign, impressions=impressions, clicks=clicks, spend=amount
            )
        )
    for product_id, counts in STOCK.items():
        for day, before, count in zip(STOCK_DAYS, (counts[0], *counts), counts, strict=False):
            counted = rows.stock(product_id, day, count, sold=before - count)
            found["inventory", dt.date.fromisoformat(day)].append(counted)
    return found


def customer_version(
    customer_id: str,
    day: str,
    place: tuple[str, str, str],
    channel: str | None,
    opted_in: bool,
    **values: Any,
) -> dict[str, Any]:
    """A customer as of a day."""
    city, state, country = place
    at_home = {"city": city, "state": state, "country": country}
    own = {"acquisition_channel": channel, "marketing_opt_in": opted_in, "customer_segment": "Consumer"}
    values = {"registration_date": day} | at_home | own | values
    return rows.customer(customer_id, f"{day} 08:00:00+00", **values)


def product_version(product_id: str, day: str, **values: Any) -> dict[str, Any]:
    """A product from the beginning of a day on."""
    category, price, cost = PRODUCTS[product_id]
    values = {"category": category, "price": price, "cost": cost, "created_date": "2025-08-01"} | values
    return rows.product(product_id, f"{day} 00:00:00+00", **values)


def price_of(product_id: str, day: str) -> int:
    """What a product cost its buyers on a day."""
    changed, since, price = NEW_PRICE
    return price if product_id == changed and day >= since else PRODUCTS[product_id][1]


def lines_of(order: Order) -> list[dict[str, Any]]:
    """An order's rows of the items' file: without discounts."""
    return [
        rows.item(
            f"{order.order_id}-{number}", order.order_id, f"{order.day} 12:00:00+00", product_id=product_id,
            quantity=quantity, unit_price=price_of(product_id, order.day), discount_amount=0,
            line_total=quantity * price_of(product_id, order.day),
        )
        for number, (product_id, quantity) in enumerate(order.lines, start=1)
    ]  # fmt: skip


def _deliver_order(found: Deliveries, order: Order) -> None:
    day = dt.date.fromisoformat(order.day)
    items = lines_of(order)
    version = rows.order(
        order.order_id, f"{order.day} 12:00:00+00", goods=sum(item["line_total"] for item in items),
        customer_id=order.customer_id, order_status="pending", payment_method="credit_card",
        shipping_method=order.shipping,
    )  # fmt: skip
    if order.cancelled_on:
        later = {"order_status": "cancelled", "updated_at": f"{order.cancelled_on} 09:00:00+00"}
        found["orders", dt.date.fromisoformat(order.cancelled_on)].append(version | later)
    if order.days is not None:
        # at 18:00; what is fetched at once is known with the day's own file
        arrived = day + dt.timedelta(days=order.days)
        shipped = min(arrived, day + dt.timedelta(days=1))
        later = {
            "order_status": "delivered",
            "shipped_at": f"{shipped} 15:00:00+00",
            "delivered_at": f"{arrived} 18:00:00+00",
            "updated_at": f"{arrived} 18:00:00+00",
        }
        if arrived > day:
            found["orders", arrived].append(version | later)
        else:
            version |= later
    found["orders", day].append(version)
    found["order_items", day] += items
    captured = rows.payment(
        f"{order.order_id}-P", order.order_id, f"{order.day} 12:05:00+00", amount=version["total_amount"]
    )
    found["payments", day].append(captured)
    if order.order_id == "O05":
        at_first = {"payment_id": "O05-F", "paid_at": f"{order.day} 12:01:00+00", "status": "failed"}
        found["payments", day].append(captured | at_first)


def _events(
    session_id: str,
    customer_id: str | None,
    day: str,
    way: tuple[str | None, str | None],
    device: str,
    order_id: str | None,
) -> list[dict[str, Any]]:
    medium, campaign = way
    page = "https://shop.example/products/P1"
    landing = f"{page}?utm_medium={medium}&utm_campaign={campaign}" if medium else page
    common = {"session_id": session_id, "customer_id": customer_id, "device_type": device, "country": "DE"}
    events = [rows.web_event(f"{session_id}-1", f"{day} 11:50:00+00", page_url=landing, **common)]
    if order_id:
        bought = f"https://shop.example/thanks?order={order_id}"
        events += [
            rows.web_event(
                f"{session_id}-2", f"{day} 11:55:00+00", event_type="add_to_cart", page_url=page, **common
            ),
            rows.web_event(
                f"{session_id}-3", f"{day} 12:01:00+00", event_type="purchase", page_url=bought, **common
            ),
        ]
    return events


def path_of(contract: Contract, day: dt.date) -> str:
    """Where a day's file of an entity lies below the landing folder."""
    return contract.layout.pattern.format(date=day, part="")


def as_file(contract: Contract, found: Sequence[Mapping[str, Any]]) -> str:
    """Rows as the text of a delivered file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.header for column in contract.columns])
    for row in found:
        unknown = set(row) - {column.name for column in contract.columns}
        assert not unknown, unknown
        values = [row.get(column.name) for column in contract.columns]
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in values])
    return text.getvalue()
