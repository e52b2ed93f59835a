"""Which delivered lines are sent back, why, and what is paid back for them.

Whether a line comes back is drawn with the order's day, so a day's returns follow from the orders of the
weeks before it and from nothing else.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from shop_simulator import csv_text as csv
from shop_simulator.aftermath import Aftermath
from shop_simulator.csv_text import Piece
from shop_simulator.days import DAY_SECONDS, Days
from shop_simulator.operations import ReturnBehaviour
from shop_simulator.orders import LIFE_DAYS, NEVER, SHIPPING_METHODS, OrderBook
from shop_simulator.products import CATEGORIES, Catalogue
from shop_simulator.randomness import Streams

COLUMNS = ("return_id", "order_item_id", "returned_at", "quantity", "reason", "refund_amount")

RETURN_DAYS = 30
"""Goods are taken back so long after their delivery."""
LATE_REASON = "arrived_late"

_RETURN = np.dtype(
    [
        ("day", np.int32),
        ("number", np.int32),
        ("position", np.uint8),
        ("category", np.uint8),
        ("reason", np.uint8),
        ("is_late", np.bool_),
        ("quantity", np.int32),
        ("second", np.int32),
        ("refund", np.int64),
    ]
)


class Returns:
    """The returns of a shop."""

    def __init__(
        self,
        streams: Streams,
        days: Days,
        orders: OrderBook,
        catalogue: Catalogue,
        behaviour: ReturnBehaviour,
    ) -> None:
        self._streams = streams
        self._days = days
        self._orders = orders
        self._catalogue = catalogue
        self._behaviour = behaviour
        self._rate = np.array([behaviour.rates[category] for category in CATEGORIES])
        self._promised = DAY_SECONDS * np.array([behaviour.promised_days[name] for name in SHIPPING_METHODS])
        self.reasons = (*behaviour.reasons, LATE_REASON)
        self._reason_bounds = np.cumsum(list(behaviour.reasons.values()))
        self._returns = Aftermath(self._derive, LIFE_DAYS + RETURN_DAYS)

    def on(self, day: int) -> NDArray[np.void]:
        """The returns received on a day; refunds in cents."""
        return self._returns.on(day)

    def chunks(self, day: int, rows: int) -> Iterator[tuple[bytes | bytearray, int]]:
        """CSV lines of the returns received on a day, those of the oldest orders first."""
        returns = self.on(day)
        for start in range(0, len(returns), rows):
            part = returns[start : start + rows]
            yield csv.render(self._columns(part), len(part)), len(part)

    def totals(self, day: int) -> dict[str, int]:
        """Units and cents of a day, and its returns by category, by reason and of late lines."""
        returns = self.on(day)
        by_category = np.bincount(returns["category"], minlength=len(CATEGORIES))
        by_reason = np.bincount(returns["reason"], minlength=len(self.reasons))
        return {
            "quantity": int(returns["quantity"].sum()),
            "refund_cents": int(returns["refund"].sum()),
            "late": int(returns["is_late"].sum()),
            **{f"category_{name}": int(rows) for name, rows in zip(CATEGORIES, by_category, strict=True)},
            **{f"reason_{name}": int(rows) for name, rows in zip(self.reasons, by_reason, strict=True)},
        }

    def _derive(self, day: int) -> NDArray[np.void]:
        """All returns of the lines ordered on a day, in the order of the lines."""
        lines, orders = self._orders.lines(day), self._orders.placed(day)
        random = self._streams.of_day("returns", day)
        count = len(lines.number)
        order = lines.number - 1
        delivered = orders["delivered"].astype(np.int64).take(order)
        duration = delivered - orders["created"].take(order)
        is_late = duration > self._promised.take(orders["shipping"]).take(order)
        category = self._catalogue.category(lines.product, day)
        rate = self._rate.take(category) * np.where(is_late, self._behaviour.late_factor, 1.0)
        chosen = np.flatnonzero((random.random(count) < rate) & (delivered != NEVER))
        returns = np.zeros(len(chosen), dtype=_RETURN)
        ordered = lines.quantity.take(chosen)
        part = 1 + (random.random(len(chosen)) * (ordered - 1)).astype(np.int64)
        is_whole = (random.random(len(chosen)) < self._behaviour.whole_share) | (ordered == 1)
        quantity = np.where(is_whole, ordered, part)
        reason = np.searchsorted(self._reason_bounds, random.random(len(chosen)), side="right")
        is_for_delay = is_late.take(chosen) & (random.random(len(chosen)) < self._behaviour.late_reason_share)
        # A day to come back at least; most customers decide soon.
        wait = DAY_SECONDS * (1 + (RETURN_DAYS - 1) * random.random(len(chosen)) ** 1.5)
        returns["day"] = day
        returns["number"] = lines.number.take(chosen)
        returns["position"] = lines.position.take(chosen)
        returns["category"] = category.take(chosen)
        returns["reason"] = np.where(
            is_for_delay, len(self.reasons) - 1, np.minimum(reason, len(self.reasons) - 2)
        )
        returns["is_late"] = is_late.take(chosen)
        returns["quantity"] = quantity
        returns["second"] = delivered.take(chosen) + wait.astype(np.int64)
        returns["refund"] = (2 * lines.total.take(chosen) * quantity + ordered) // (2 * ordered)
        return returns

    def _columns(self, returns: NDArray[np.void]) -> list[csv.Column]:
        placed = returns["day"].astype(np.int64)
        date = np.char.replace(self._days.iso(placed), b"-", b"").astype("S8")
        number: list[Piece] = csv.padded(returns["number"], 7)
        return [
            [b"RT", date, *number, *csv.padded(returns["position"], 2)],
            [b"O", date, b"-", *number, b"-", *csv.plain(returns["position"])],
            self._days.timestamps(placed, returns["second"].astype(np.int64)),
            csv.plain(returns["quantity"]),
            [csv.table(self.reasons).take(returns["reason"])],
            csv.money(returns["refund"]),
        ]
