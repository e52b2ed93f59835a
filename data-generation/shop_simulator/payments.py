"""How orders are paid: attempts that fail and are repeated, the one that succeeds, and what is paid back.

All attempts lie between the placing of an order and the start of its processing, which waits for the money.
So every order is captured at last, unless it is cancelled before.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from shop_simulator import csv_text as csv
from shop_simulator.aftermath import Aftermath
from shop_simulator.csv_text import Piece
from shop_simulator.days import Days
from shop_simulator.operations import PaymentBehaviour
from shop_simulator.orders import NEVER, PAYMENT_METHODS, OrderBook
from shop_simulator.randomness import Streams

COLUMNS = ("payment_id", "order_id", "paid_at", "method", "amount", "status")

STATUSES = ("captured", "failed", "refunded")

MOST_FAILURES = 3
"""After this many failures the next attempt succeeds."""

_LAST_AGE = 7
"""An order is cancelled within two days and a half and paid back within four days after that."""
_HOUR = 3600
_LEAST_WAIT = 60

_PAYMENT = np.dtype(
    [
        ("day", np.int32),
        ("number", np.int32),
        ("attempt", np.uint8),
        ("method", np.uint8),
        ("status", np.uint8),
        ("second", np.int32),
        ("amount", np.int64),
    ]
)


class Payments:
    """The payments of the orders of a shop."""

    def __init__(self, streams: Streams, days: Days, orders: OrderBook, behaviour: PaymentBehaviour) -> None:
        self._streams = streams
        self._days = days
        self._orders = orders
        self._failure_rate = np.array([behaviour.failure_rates[method] for method in PAYMENT_METHODS])
        self._refund_seconds = behaviour.refund_hours * _HOUR
        self._payments = Aftermath(self._derive, _LAST_AGE)

    def on(self, day: int) -> NDArray[np.void]:
        """The attempts and pay-backs of a day; amounts in cents."""
        return self._payments.on(day)

    def chunks(self, day: int, rows: int) -> Iterator[tuple[bytes | bytearray, int]]:
        """CSV lines of a day's payments, those of the oldest orders first."""
        payments = self.on(day)
        for start in range(0, len(payments), rows):
            part = payments[start : start + rows]
            yield csv.render(self._columns(part), len(part)), len(part)

    def totals(self, day: int) -> dict[str, int]:
        """Rows and cents of a day by status, and what failed of how many attempts by method."""
        payments = self.on(day)
        totals: dict[str, int] = {}
        for code, status in enumerate(STATUSES):
            rows = payments[payments["status"] == code]
            totals |= {status: len(rows), f"{status}_cents": int(rows["amount"].sum())}
        attempts = payments[payments["status"] != STATUSES.index("refunded")]
        for code, method in enumerate(PAYMENT_METHODS):
            status = attempts["status"][attempts["method"] == code]
            totals |= {
                f"attempts_{method}": len(status),
                f"failed_{method}": int((status == STATUSES.index("failed")).sum()),
            }
        return totals

    def _derive(self, day: int) -> NDArray[np.void]:
        """All payments of the orders placed on a day, in the order of orders and attempts."""
        orders = self._orders.placed(day)
        random = self._streams.of_day("payments", day)
        count = len(orders)
        rate = self._failure_rate.take(orders["payment"])
        fails = random.random((MOST_FAILURES, count)) < rate
        failures = np.cumprod(fails, axis=0).sum(axis=0)
        created = orders["created"].astype(np.int64)
        processing = np.where(orders["processing"] == NEVER, created + 12 * _HOUR, orders["processing"])
        parts = []

        def add(which: NDArray[np.bool_], attempt: NDArray[np.int64], status: str, second: Seconds) -> None:
            part = np.zeros(int(which.sum()), dtype=_PAYMENT)
            part["day"] = day
            part["number"] = orders["number"][which]
            part["attempt"] = attempt[which]
            part["method"] = orders["payment"][which]
            part["status"] = STATUSES.index(status)
            part["second"] = second[which]
            part["amount"] = orders["total_cents"][which]
            parts.append(part)

        second = created + 5 + (random.random(count) * 115).astype(np.int64)
        for attempt in range(MOST_FAILURES + 1):
            in_time = second < orders["cancelled"]
            number = np.full(count, attempt + 1)
            add(in_time & (attempt < failures), number, "failed", second)
            add(in_time & (attempt == failures), number, "captured", second)
            is_paid_back = in_time & (attempt == failures) & (orders["cancelled"] != NEVER)
            wait = 600 + (random.random(count) * (self._refund_seconds - 600)).astype(np.int64)
            add(is_paid_back, number + 1, "refunded", orders["cancelled"] + wait)
            left = processing - second - _LEAST_WAIT * (MOST_FAILURES + 1 - attempt)
            pause = (0.05 + 0.55 * random.random(count)) * np.maximum(left, 0)
            second = second + _LEAST_WAIT + pause.astype(np.int64)
        payments = np.concatenate(parts)
        return payments[np.lexsort((payments["attempt"], payments["number"]))]

    def _columns(self, payments: NDArray[np.void]) -> list[csv.Column]:
        placed = payments["day"].astype(np.int64)
        date = np.char.replace(self._days.iso(placed), b"-", b"").astype("S8")
        number: list[Piece] = [date, *csv.padded(payments["number"], 7)]
        return [
            [b"PM", *number, *csv.padded(payments["attempt"], 1)],
            [b"O", date, b"-", *csv.padded(payments["number"], 7)],
            self._days.timestamps(placed, payments["second"].astype(np.int64)),
            [_METHOD_TEXT.take(payments["method"])],
            csv.money(payments["amount"]),
            [_STATUS_TEXT.take(payments["status"])],
        ]


Seconds = NDArray[np.int64]
_METHOD_TEXT = csv.table(PAYMENT_METHODS)
_STATUS_TEXT = csv.table(STATUSES)
