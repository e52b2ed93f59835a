"""The orders placed on a day with their lines and their whole lives, and what each day's files say of them.

An order's fate (processing, shipping, delivery or cancellation) is drawn when it is placed, and is over
within LIFE_DAYS days. So a day's status updates are found by deriving the LIFE_DAYS days before it again,
never by replaying the shop's history.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shop_simulator import csv_text as csv
from shop_simulator import customers, products
from shop_simulator.baskets import Wishes, draw, fill
from shop_simulator.behaviour import Behaviour
from shop_simulator.csv_text import Piece
from shop_simulator.customers import SEGMENTS, CustomerBase
from shop_simulator.days import DAY_SECONDS, Days
from shop_simulator.demand import GUEST, Buyers, Demand
from shop_simulator.pools import LOCALE_MIX, LOCALES
from shop_simulator.products import Catalogue, Offer, Pairs
from shop_simulator.randomness import Streams, mixture
from shop_simulator.spending import Spending

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

NEVER = np.iinfo(np.int32).max
"""The time of what does not happen."""

_HOUR = 3600

_PAYMENT = mixture(460, 190, 230, 80, 40)
_SHIPPING_CENTS = np.array([599, 1499, 2999, 0], dtype=np.int64)
_FREE_STANDARD_FROM = 7_500
_PICKUP = SHIPPING_METHODS.index("pickup")
_TAX_BASIS_POINTS = np.array([0, 400, 550, 625, 700, 725, 825, 900], dtype=np.int64)

_ORDER = np.dtype(
    [
        ("day", np.int32),
        ("number", np.int32),
        ("customer", np.int64),
        ("country", np.uint8),
        ("payment", np.uint8),
        ("shipping", np.uint8),
        ("shipping_cents", np.int32),
        ("tax_cents", np.int64),
        ("total_cents", np.int64),
        ("goods_cents", np.int64),
        # Seconds since the midnight before the order; NEVER for what does not happen.
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
    """Derives any day's orders and lines; keeps the orders of the LIFE_DAYS + 1 days asked for last."""

    def __init__(
        self,
        streams: Streams,
        days: Days,
        demand: Demand,
        customer_base: CustomerBase,
        catalogue: Catalogue,
        behaviour: Behaviour,
        sold_out: Callable[[int], NDArray[np.int64]] | None = None,
    ) -> None:
        """`sold_out` gives the products that cannot be bought on a day; without it there are none."""
        self._streams = streams
        self._days = days
        self._demand = demand
        self._customers = customer_base
        self._catalogue = catalogue
        self._behaviour = behaviour
        self._sold_out = sold_out
        self.spending = Spending(streams, behaviour.spend, behaviour.segments)
        self._discount_share = np.array([behaviour.segments[name].discount_share for name in SEGMENTS])
        self._life = _Life(behaviour)
        self._tax = streams.lookup("orders/tax")
        self._placed: OrderedDict[int, _Placed] = OrderedDict()
        self._lines: tuple[int, Lines] | None = None

    def order_chunks(self, day: int, rows: int) -> Iterator[tuple[bytes | bytearray, int]]:
        """CSV lines of the orders placed or changed on a day as they stand at its end, oldest first."""
        orders = self._in_file(day)
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
        """The order lines of a day, in order of the orders' numbers."""
        if self._lines is None or self._lines[0] != day:
            self._derive(day)
        assert self._lines is not None
        return self._lines[1]

    def sample_lines(self, day: int, orders: int, random: np.random.Generator) -> Lines:
        """What so many guests would buy on a day if nothing were sold out: for forecasts, in no file."""
        buyers = Buyers(np.full(orders, GUEST), np.zeros(orders, dtype=np.int32))
        return self._make_lines(random, day, buyers, self._catalogue.offer(day))

    @property
    def days_kept(self) -> int:
        """How many days' orders are in memory."""
        return len(self._placed)

    def placed(self, day: int) -> NDArray[np.void]:
        """The orders placed on a day in order of their numbers, with their whole lives.

        Fields: `day` and `number` (from 1, within the day) name the order; `customer` (GUEST: none);
        `country` is a position in LOCALES, `payment` in PAYMENT_METHODS, `shipping` in SHIPPING_METHODS;
        amounts in cents; times in seconds since the midnight before the order, NEVER when it does not
        happen.
        """
        return self._placed_on(day).orders

    def order_totals(self, day: int) -> dict[str, int]:
        """What a day's file of orders says in sum: what was placed, and what happened to orders."""
        new, orders = self.placed(day), self._in_file(day)
        start = (day - orders["day"].astype(np.int64)) * DAY_SECONDS
        happened = {name: (orders[name] >= start) & (orders[name] < start + DAY_SECONDS) for name in _EVENTS}
        return {
            "placed": len(new),
            "guests": int((new["customer"] == GUEST).sum()),
            "goods_cents": int(new["goods_cents"].sum()),
            "shipping_cents": int(new["shipping_cents"].sum()),
            "tax_cents": int(new["tax_cents"].sum()),
            "total_cents": int(new["total_cents"].sum()),
            **{name: int(happened[name].sum()) for name in _EVENTS},
            "cancelled_goods_cents": int(orders["goods_cents"][happened["cancelled"]].sum()),
        }

    def item_totals(self, day: int) -> dict[str, int]:
        """What a day's file of order items says in sum."""
        lines = self.lines(day)
        return {
            "quantity": int(lines.quantity.sum()),
            "discount_cents": int(lines.discount.sum()),
            "total_cents": int(lines.total.sum()),
        }

    def _in_file(self, day: int) -> NDArray[np.void]:
        """The orders placed or changed on a day, oldest first."""
        parts = []
        for age in range(min(LIFE_DAYS, day), -1, -1):
            placed = self._placed_on(day - age)
            raw = placed.orders.view(_RAW)
            parts.append(raw.take(placed.changes[age]) if age else raw)
        orders: NDArray[np.void] = np.concatenate(parts).view(_ORDER)
        return orders

    def _placed_on(self, day: int) -> _Placed:
        if day not in self._placed:
            self._derive(day)
        self._placed.move_to_end(day)
        return self._placed[day]

    def _derive(self, day: int) -> None:
        buyers = self._demand.buyers(day)
        if len(buyers.customer) >= MAX_ORDERS_PER_DAY:
            raise ValueError(
                f"{len(buyers.customer):,} orders on {self._days.date(day)}: a day holds fewer than "
                f"{MAX_ORDERS_PER_DAY:,}; use a smaller scale"
            )
        orders = np.zeros(len(buyers.customer), dtype=_ORDER)
        orders["day"] = day
        orders["number"] = np.arange(1, len(orders) + 1)
        orders["customer"] = buyers.customer
        orders["created"] = buyers.second
        offer = self._catalogue.offer(day, None if self._sold_out is None else self._sold_out(day))
        lines = self._make_lines(self._streams.of_day("lines", day), day, buyers, offer)
        orders["goods_cents"] = np.bincount(lines.number - 1, lines.total, len(orders)).astype(np.int64)
        self._add_amounts(self._streams.of_day("orders", day), orders)
        self._life.add(self._streams.of_day("orders/life", day), orders)
        self._lines = (day, lines)
        self._placed[day] = _Placed(orders, _changes_by_age(orders))
        self._placed.move_to_end(day)
        if len(self._placed) > LIFE_DAYS + 1:  # the days a file is made of
            self._placed.popitem(last=False)

    def _make_lines(self, random: np.random.Generator, day: int, buyers: Buyers, offer: Offer) -> Lines:
        is_guest = buyers.customer == GUEST
        segment = np.zeros(len(buyers.customer), dtype=np.int64)  # guests are consumers
        segment[~is_guest] = self._customers.segment(buyers.customer[~is_guest], day)
        wishes = Wishes(
            discount_share=self._discount_share[segment],
            goods=self.spending.goods(random, buyers.customer, segment),
        )
        baskets = fill(
            random,
            offer,
            wishes,
            self._behaviour.ordering.discount_percents,
            _partners(offer, self._catalogue.pairs()),
            self._behaviour.affinity.probability,
        )
        return Lines(
            number=baskets.order + 1,
            position=baskets.position,
            second=buyers.second.take(baskets.order),
            product=offer.products.take(baskets.choice),
            quantity=baskets.quantity,
            unit_price=offer.price.take(baskets.choice),
            discount=baskets.discount,
            total=baskets.gross - baskets.discount,
        )

    def _add_amounts(self, random: np.random.Generator, orders: NDArray[np.void]) -> None:
        """Draw where each order goes, how it is paid and sent, and what is charged for that."""
        count = len(orders)
        goods = orders["goods_cents"]
        is_guest = orders["customer"] == GUEST
        country = draw(random, LOCALE_MIX, count)
        country[~is_guest] = self._customers.locale(orders["customer"][~is_guest])
        shipping = draw(random, self._life.shipping_mix, count)
        cost = _SHIPPING_CENTS.take(shipping)
        cost[(shipping == 0) & (goods >= _FREE_STANDARD_FROM)] = 0
        bracket = random.integers(0, len(_TAX_BASIS_POINTS), count)
        bracket[~is_guest] = self._tax.below(len(_TAX_BASIS_POINTS), orders["customer"][~is_guest])
        tax = (goods * _TAX_BASIS_POINTS.take(bracket) + 5_000) // 10_000
        orders["country"] = country
        orders["payment"] = draw(random, _PAYMENT, count)
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

        is_known = orders["customer"] != GUEST
        first = int(placed[0])
        compact = np.char.replace(self._days.iso(np.arange(first, day + 1)), b"-", b"").astype("S8")
        number: list[Piece] = [b"O", compact.take(placed - first), b"-", *csv.padded(orders["number"], 7)]
        return [
            number,
            [csv.blanked(csv.joined(customers.identifier(orders["customer"]), len(orders)), is_known)],
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


def _partners(offer: Offer, pairs: Pairs) -> NDArray[np.int64]:
    """The partner of each position in the offer, as such a position; -1 where there is none."""
    last = max(int(numbers.max(initial=0)) for numbers in (offer.products, pairs.product, pairs.partner))
    place = np.full(last + 1, -1)
    place[offer.products] = np.arange(len(offer.products))
    partner = np.full(len(offer.products), -1)
    product, other = place[pairs.product], place[pairs.partner]
    partner[product[product >= 0]] = other[product >= 0]
    return partner


class _Life:
    """When orders are processed, shipped and delivered, or else cancelled."""

    def __init__(self, behaviour: Behaviour) -> None:
        methods = [behaviour.shipping.methods[name] for name in SHIPPING_METHODS]
        self.shipping_mix = mixture(*(round(1000 * method.share) for method in methods))
        self._least = np.array([method.least_hours for method in methods]) * _HOUR
        self._spread = np.array([method.spread_hours for method in methods]) * _HOUR
        countries = [behaviour.shipping.country_hours[locale.country] for locale in LOCALES]
        self._country = np.array(countries) * _HOUR
        self._cancelled_share = behaviour.ordering.cancelled_share

    def add(self, random: np.random.Generator, orders: NDArray[np.void]) -> None:
        """Draw the lives of orders."""
        count = len(orders)

        def spread(seconds: int | NDArray[np.int64]) -> NDArray[np.int64]:
            return (random.random(count) * seconds).astype(np.int64)

        shipping = orders["shipping"]
        created = orders["created"].astype(np.int64)
        processing = created + 600 + spread(12 * _HOUR)
        shipped = processing + 2 * _HOUR + spread(60 * _HOUR)
        transit = self._least.take(shipping) + spread(self._spread.take(shipping))
        transit += np.where(shipping == _PICKUP, 0, self._country.take(orders["country"]))
        is_cancelled = random.random(count) < self._cancelled_share
        cancelled = np.where(is_cancelled, created + 300 + spread(30 * _HOUR), NEVER)
        orders["processing"] = np.where(processing < cancelled, processing, NEVER)
        orders["shipped"] = np.where(is_cancelled, NEVER, shipped)
        orders["delivered"] = np.where(is_cancelled, NEVER, shipped + transit)
        orders["cancelled"] = cancelled


def _changes_by_age(orders: NDArray[np.void]) -> tuple[NDArray[np.int64], ...]:
    """For each age in days from 0 to LIFE_DAYS, the rows of the orders with an event at that age."""
    ages = np.stack([orders[name] // DAY_SECONDS for name in _EVENTS])
    return tuple(np.flatnonzero((ages == age).any(axis=0)) for age in range(LIFE_DAYS + 1))


_STATUS_TEXT = csv.table(STATUSES)
_PAYMENT_TEXT = csv.table(PAYMENT_METHODS)
_SHIPPING_TEXT = csv.table(SHIPPING_METHODS)
