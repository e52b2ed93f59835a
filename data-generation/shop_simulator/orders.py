"""The orders placed on a day with their lines and their whole lives, and what each day's files say of them.

An order's fate (processing, shipping, delivery or cancellation) is drawn when it is placed, and is over
within LIFE_DAYS days. So a day's status updates are found by deriving the LIFE_DAYS days before it again,
never by replaying the shop's history.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shop_simulator import csv_text as csv
from shop_simulator import customers, products
from shop_simulator.csv_text import Piece
from shop_simulator.days import DAY_SECONDS, Days
from shop_simulator.demand import Demand
from shop_simulator.products import Catalogue
from shop_simulator.randomness import Streams, mixture

ORDER_COLUMNS = (
    "order_id",
    "customer_id",
    "order_date",
    "order_status",
    "payment_method",
    "shipping_method",
    "shipping_cost",
    "tax_amount",
    "total_amount",
    "currency",
    "shipped_at",
    "delivered_at",
    "created_at",
    "updated_at",
)
ITEM_COLUMNS = (
    "order_item_id",
    "order_id",
    "product_id",
    "quantity",
    "unit_price",
    "line_total",
    "discount_amount",
    "created_at",
)

STATUSES = ("pending", "processing", "shipped", "delivered", "cancelled")
PAYMENT_METHODS = ("credit_card", "debit_card", "paypal", "bank_transfer", "gift_card")
SHIPPING_METHODS = ("standard", "express", "overnight", "pickup")

LIFE_DAYS = 14
"""An order's last event falls at most this many days after the day it was placed."""
MAX_ORDERS_PER_DAY = 10_000_000
"""Order numbers of a day have seven digits."""

_NEVER = np.iinfo(np.int32).max
_HOUR = 3600

_LINES = mixture(290, 280, 200, 125, 65, 30, 10)  # 1 to 7 lines, 2.53 on average
_QUANTITY = mixture(0, 720, 180, 60, 25, 15)
_PAYMENT = mixture(460, 190, 230, 80, 40)
_SHIPPING = mixture(640, 210, 60, 90)
_SHIPPING_CENTS = np.array([599, 1499, 2999, 0], dtype=np.int64)
_FREE_STANDARD_FROM = 7_500
# From shipping to delivery: least time and spread, in seconds, by shipping method.
_TRANSIT_LEAST = np.array([48, 20, 10, 2]) * _HOUR
_TRANSIT_SPREAD = np.array([132, 48, 14, 60]) * _HOUR
_CANCELLED_SHARE = 0.04
_DISCOUNTED_SHARE = 0.15
_DISCOUNT_PERCENT = np.array([5, 10, 10, 15, 20, 25], dtype=np.int64)
_TAX_BASIS_POINTS = np.array([0, 400, 550, 625, 700, 725, 825, 900], dtype=np.int64)

_ORDER = np.dtype(
    [
        ("day", np.int32),
        ("number", np.int32),
        ("customer", np.int64),
        ("payment", np.uint8),
        ("shipping", np.uint8),
        ("shipping_cents", np.int32),
        ("tax_cents", np.int64),
        ("total_cents", np.int64),
        # Seconds since the midnight before the order; _NEVER for what does not happen.
        ("created", np.int32),
        ("processing", np.int32),
        ("shipped", np.int32),
        ("delivered", np.int32),
        ("cancelled", np.int32),
    ]
)
_RAW = np.dtype((np.void, _ORDER.itemsize))
"""The same bytes without fields, which numpy joins without looking at each field."""
_EVENTS = ("processing", "shipped", "delivered", "cancelled")


@dataclass(frozen=True)
class Lines:
    """The order lines of a day, one element per line; amounts in cents."""

    number: NDArray[np.int64]
    """The order's number within the day, from 1."""
    position: NDArray[np.int64]
    """The line's number within the order, from 1."""
    second: NDArray[np.int32]
    product: NDArray[np.int64]
    quantity: NDArray[np.int64]
    unit_price: NDArray[np.int64]
    discount: NDArray[np.int64]
    total: NDArray[np.int64]


@dataclass(frozen=True)
class _Placed:
    """The orders of a day, and which of them have an event how many days later."""

    orders: NDArray[np.void]
    changes: tuple[NDArray[np.int64], ...]


class OrderBook:
    """Derives any day's orders and lines; keeps only the LIFE_DAYS + 1 days up to the one asked for."""

    def __init__(self, streams: Streams, days: Days, demand: Demand, catalogue: Catalogue) -> None:
        self._streams = streams
        self._days = days
        self._demand = demand
        self._catalogue = catalogue
        self._tax = streams.lookup("orders/tax")
        self._placed: dict[int, _Placed] = {}
        self._lines: tuple[int, Lines] | None = None

    def order_chunks(self, day: int, rows: int) -> Iterator[tuple[bytes | bytearray, int]]:
        """CSV lines of the orders placed or changed on a day as they stand at its end, oldest first."""
        self._forget_outside(day)
        parts = [self._orders_of(day).orders.view(_RAW)]
        for age in range(1, min(LIFE_DAYS, day) + 1):
            placed = self._orders_of(day - age)
            parts.append(placed.orders.view(_RAW).take(placed.changes[age]))
        orders: NDArray[np.void] = np.concatenate(parts[::-1]).view(_ORDER)
        for start in range(0, len(orders), rows):
            part = orders[start : start + rows]
            yield csv.render(self._order_columns(part, day), len(part)), len(part)

    def item_chunks(self, day: int, rows: int) -> Iterator[tuple[bytes | bytearray, int]]:
        """CSV lines of the items of the orders placed on a day."""
        lines = self.lines(day)
        for start in range(0, len(lines.number), rows):
            part = slice(start, start + rows)
            columns = self._item_columns(lines, part, day)
            yield csv.render(columns, len(lines.number[part])), len(lines.number[part])

    def lines(self, day: int) -> Lines:
        """The order lines of a day."""
        if self._lines is None or self._lines[0] != day:
            self._forget_outside(day)
            self._derive(day)
        assert self._lines is not None
        return self._lines[1]

    @property
    def days_kept(self) -> int:
        """How many days' orders are in memory."""
        return len(self._placed)

    def _orders_of(self, day: int) -> _Placed:
        if day not in self._placed:
            self._derive(day)
        return self._placed[day]

    def _forget_outside(self, day: int) -> None:
        """Keep only what a day's file is made of, so that memory does not grow with the days made."""
        self._placed = {kept: self._placed[kept] for kept in self._placed if 0 <= day - kept <= LIFE_DAYS}

    def _derive(self, day: int) -> None:
        buyers = self._demand.buyers(day)
        if len(buyers.customer) >= MAX_ORDERS_PER_DAY:
            raise ValueError(
                f"{len(buyers.customer):,} orders on {self._days.date(day)}: a day holds fewer than "
                f"{MAX_ORDERS_PER_DAY:,}; use a smaller scale"
            )
        random = self._streams.of_day("lines", day)
        sizes = _draw(random, _LINES, len(buyers.customer)).astype(np.int64) + 1
        lines = self._make_lines(random, day, sizes, buyers.second)
        orders = np.zeros(len(sizes), dtype=_ORDER)
        orders["day"] = day
        orders["number"] = np.arange(1, len(sizes) + 1)
        orders["customer"] = buyers.customer
        orders["created"] = buyers.second
        random = self._streams.of_day("orders", day)
        self._add_amounts(random, orders, sizes, lines.total)
        _add_life(random, orders)
        self._lines = (day, lines)
        self._placed[day] = _Placed(orders, _changes_by_age(orders))

    def _make_lines(
        self,
        random: np.random.Generator,
        day: int,
        sizes: NDArray[np.int64],
        second: NDArray[np.int32],
    ) -> Lines:
        count = int(sizes.sum())
        order = np.repeat(np.arange(len(sizes)), sizes)
        position = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1
        offer = self._catalogue.offer(day)
        choice = np.searchsorted(offer.popularity, random.random(count), side="right")
        choice = _distinct(np.minimum(choice, len(offer.products) - 1), order, len(offer.products))
        quantity = _draw(random, _QUANTITY, count).astype(np.int64)
        unit_price = offer.price.take(choice)
        gross = quantity * unit_price
        percent = _DISCOUNT_PERCENT.take(random.integers(0, len(_DISCOUNT_PERCENT), count))
        percent *= random.random(count) < _DISCOUNTED_SHARE
        discount = (gross * percent + 50) // 100
        return Lines(
            number=order + 1,
            position=position,
            second=second.take(order),
            product=offer.products.take(choice),
            quantity=quantity,
            unit_price=unit_price,
            discount=discount,
            total=gross - discount,
        )

    def _add_amounts(
        self,
        random: np.random.Generator,
        orders: NDArray[np.void],
        sizes: NDArray[np.int64],
        line_totals: NDArray[np.int64],
    ) -> None:
        count = len(orders)
        cumulative = np.concatenate([[0], np.cumsum(line_totals)])
        ends = np.cumsum(sizes)
        goods = cumulative[ends] - cumulative[ends - sizes]
        shipping = _draw(random, _SHIPPING, count)
        cost = _SHIPPING_CENTS.take(shipping)
        cost[(shipping == 0) & (goods >= _FREE_STANDARD_FROM)] = 0
        rate = _TAX_BASIS_POINTS.take(self._tax.below(len(_TAX_BASIS_POINTS), orders["customer"]))
        tax = (goods * rate + 5_000) // 10_000
        orders["payment"] = _draw(random, _PAYMENT, count)
        orders["shipping"] = shipping
        orders["shipping_cents"] = cost
        orders["tax_cents"] = tax
        orders["total_cents"] = goods + cost + tax

    def _order_columns(self, orders: NDArray[np.void], day: int) -> list[csv.Column]:
        placed = orders["day"].astype(np.int64)
        end = (day - placed + 1) * DAY_SECONDS  # of the file's day, on each order's own clock
        times: dict[str, NDArray[Any]] = {name: orders[name] for name in ("created", *_EVENTS)}
        happened = {name: times[name] < end for name in _EVENTS}
        status = np.zeros(len(orders), dtype=np.int64)
        updated = times["created"].astype(np.int64)
        for code, name in enumerate(_EVENTS, start=1):
            status[happened[name]] = code
            updated = np.where(happened[name], times[name], updated)

        def stamp_or_null(name: str) -> list[Piece]:
            seconds = np.where(happened[name], times[name], 0).astype(np.int64)
            stamp = csv.joined(self._days.timestamps(placed, seconds), len(orders))
            return [csv.blanked(stamp, happened[name])]

        first = int(placed[0])
        compact = np.char.replace(self._days.iso(np.arange(first, day + 1)), b"-", b"").astype("S8")
        number: list[Piece] = [b"O", compact.take(placed - first), b"-", *csv.padded(orders["number"], 7)]
        return [
            number,
            customers.identifier(orders["customer"]),
            [self._days.iso(placed)],
            [_STATUS_TEXT.take(status)],
            [_PAYMENT_TEXT.take(orders["payment"])],
            [_SHIPPING_TEXT.take(orders["shipping"])],
            csv.money(orders["shipping_cents"]),
            csv.money(orders["tax_cents"]),
            csv.money(orders["total_cents"]),
            [b"USD"],
            stamp_or_null("shipped"),
            stamp_or_null("delivered"),
            self._days.timestamps(placed, times["created"]),
            self._days.timestamps(placed, updated),
        ]

    def _item_columns(self, lines: Lines, part: slice, day: int) -> list[csv.Column]:
        iso = self._days.date(day).isoformat().encode()
        number: list[Piece] = [
            b"O" + iso.replace(b"-", b"") + b"-",
            *csv.padded(lines.number[part], 7),
        ]
        return [
            [*number, b"-", *csv.plain(lines.position[part])],
            number,
            products.identifier(lines.product[part]),
            csv.plain(lines.quantity[part]),
            csv.money(lines.unit_price[part]),
            csv.money(lines.total[part]),
            csv.money(lines.discount[part]),
            [iso + b" ", csv.time_of_day(lines.second[part])],
        ]


def _draw(random: np.random.Generator, codes: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    return codes.take(random.integers(0, len(codes), count, dtype=np.uint16))


def _distinct(choice: NDArray[np.int64], order: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Choices below `limit` such that no order has one twice: a repeated one moves to the next free one."""
    longest = int(_LINES[-1]) + 1
    while True:
        repeated = np.zeros(len(choice), dtype=np.bool_)
        for distance in range(1, longest):
            same = choice[distance:] == choice[:-distance]
            same &= order[distance:] == order[:-distance]
            repeated[distance:] |= same
        if not repeated.any():
            return choice
        choice = np.where(repeated, (choice + 1) % limit, choice)


def _add_life(random: np.random.Generator, orders: NDArray[np.void]) -> None:
    """Draw when each order is processed, shipped and delivered, or else cancelled."""
    count = len(orders)

    def spread(seconds: int) -> NDArray[np.int64]:
        return (random.random(count) * seconds).astype(np.int64)

    created = orders["created"].astype(np.int64)
    processing = created + 600 + spread(12 * _HOUR)
    shipped = processing + 2 * _HOUR + spread(60 * _HOUR)
    transit = random.random(count) * _TRANSIT_SPREAD.take(orders["shipping"])
    delivered = shipped + _TRANSIT_LEAST.take(orders["shipping"]) + transit.astype(np.int64)
    is_cancelled = random.random(count) < _CANCELLED_SHARE
    cancelled = np.where(is_cancelled, created + 300 + spread(30 * _HOUR), _NEVER)
    orders["processing"] = np.where(processing < cancelled, processing, _NEVER)
    orders["shipped"] = np.where(is_cancelled, _NEVER, shipped)
    orders["delivered"] = np.where(is_cancelled, _NEVER, delivered)
    orders["cancelled"] = cancelled


def _changes_by_age(orders: NDArray[np.void]) -> tuple[NDArray[np.int64], ...]:
    """For each age in days from 0 to LIFE_DAYS, the rows of the orders with an event at that age."""
    ages = np.stack([orders[name] // DAY_SECONDS for name in _EVENTS])
    return tuple(np.flatnonzero((ages == age).any(axis=0)) for age in range(LIFE_DAYS + 1))


_STATUS_TEXT = csv.table(STATUSES)
_PAYMENT_TEXT = csv.table(PAYMENT_METHODS)
_SHIPPING_TEXT = csv.table(SHIPPING_METHODS)
