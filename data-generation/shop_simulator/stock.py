"""What is in stock: counted at each month's start, from then on received and sold day by day.

Stock and orders hang on each other: what is sold out at a day's start cannot be ordered on it. So a day
needs the days of its month before it, and none before: on the first day of a month the stock is counted
anew, which gives what a count of that month gives and not what the month before has left.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shop_simulator import csv_text as csv
from shop_simulator import products
from shop_simulator.csv_text import Ints
from shop_simulator.days import Days
from shop_simulator.demand import Demand
from shop_simulator.operations import StockBehaviour
from shop_simulator.orders import OrderBook
from shop_simulator.products import Catalogue
from shop_simulator.randomness import Streams

COLUMNS = ("product_id", "snapshot_date", "on_hand", "received", "sold")

_KEPT_DAYS = 80
"""A day made alone looks back 44 days and from there to the start of a month."""
_SAMPLE_PER_PRODUCT = 6
"""Baskets per product from which a month's sales are forecast."""
_WEEK = 7
"""Days at the start of a month whose number of orders the forecast takes for the month's."""


@dataclass(frozen=True)
class StockDay:
    """A day of all products ever created by then, by product number; in units."""

    opening: NDArray[np.int64]
    """On hand at its start."""
    on_hand: NDArray[np.int64]
    """On hand at its end."""
    received: NDArray[np.int64]
    sold: NDArray[np.int64]
    due: NDArray[np.int64]
    """The day on which what was ordered from the supplier comes; -1: nothing is ordered."""


@dataclass(frozen=True)
class _Plan:
    """How a month's stock is kept, by product number; products that come in the month included."""

    count: NDArray[np.int64]
    """On hand when it is counted: at the month's start, or when the product comes."""
    due: NDArray[np.int64]
    """The day on which comes what was ordered in the month before; -1: nothing is."""
    reorder_point: NDArray[np.int64]
    lot: NDArray[np.int64]
    """How much is ordered at a time."""
    lead_days: NDArray[np.int64]


class Stock:
    """The stock of a shop."""

    def __init__(
        self,
        streams: Streams,
        days: Days,
        catalogue: Catalogue,
        demand: Demand,
        orders: OrderBook,
        behaviour: StockBehaviour,
    ) -> None:
        self._streams = streams
        self._days = days
        self._catalogue = catalogue
        self._demand = demand
        self._orders = orders
        self._behaviour = behaviour
        self._kept: OrderedDict[int, StockDay] = OrderedDict()
        self._plans: OrderedDict[int, _Plan] = OrderedDict()

    def sold_out(self, day: int) -> NDArray[np.int64]:
        """The products that cannot be bought on a day: nothing was on hand at its start."""
        return np.flatnonzero(self._opening(day)[0] == 0)

    def of(self, day: int) -> StockDay:
        """The stock of a day."""
        if day not in self._kept:
            start = self._month_start(day)
            known = [kept for kept in range(start, day) if kept in self._kept]
            for number in range(known[-1] + 1 if known else start, day + 1):
                self._kept[number] = self._advance(number)
            while len(self._kept) > _KEPT_DAYS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(day)
        return self._kept[day]

    def chunks(self, day: int, rows: int) -> Iterator[tuple[bytes | bytearray, int]]:
        """CSV lines of the stock of the products on sale on a day."""
        stock, on_sale = self.of(day), self._catalogue.on_sale(day)
        iso = self._days.date(day).isoformat().encode()
        for start in range(0, len(on_sale), rows):
            part = on_sale[start : start + rows]
            columns: list[csv.Column] = [
                products.identifier(part),
                [iso],
                csv.plain(stock.on_hand.take(part)),
                csv.plain(stock.received.take(part)),
                csv.plain(stock.sold.take(part)),
            ]
            yield csv.render(columns, len(part)), len(part)

    def totals(self, day: int) -> dict[str, int]:
        """Units of a day's file, and how many products could not be bought on the day."""
        stock, on_sale = self.of(day), self._catalogue.on_sale(day)
        return {
            "on_hand": int(stock.on_hand[on_sale].sum()),
            "received": int(stock.received[on_sale].sum()),
            "sold": int(stock.sold[on_sale].sum()),
            "sold_out": int((stock.opening[on_sale] == 0).sum()) if self._behaviour.is_limited else 0,
        }

    def _advance(self, day: int) -> StockDay:
        """A day's stock from that of the day before, or from the count on the first day of a month.

        What is due comes before the day is over, so it covers the day's sales; what is still missing then
        comes by an emergency delivery.
        """
        opening, due = self._opening(day)
        plan = self._plan(day)
        count = len(opening)
        lines = self._orders.lines(day)
        sold = np.bincount(lines.product, lines.quantity, count).astype(np.int64)
        comes = due == day
        received = np.where(comes, plan.lot[:count], 0)
        received += np.maximum(sold - opening - received, 0)
        on_hand = opening + received - sold
        due = np.where(comes, -1, due)
        is_ordered = (due < 0) & (on_hand <= plan.reorder_point[:count])
        due = np.where(is_ordered, day + plan.lead_days[:count], due)
        return StockDay(opening, on_hand, received, sold, due)

    def _opening(self, day: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """On hand at the start of a day, and when what is ordered comes, of all products created by then."""
        plan, count = self._plan(day), self._catalogue.count(day)
        if day == self._month_start(day):
            return plan.count[:count], plan.due[:count]
        before = self.of(day - 1)
        new = slice(len(before.on_hand), count)
        return (
            np.concatenate([before.on_hand, plan.count[new]]),
            np.concatenate([before.due, np.full(count - len(before.due), -1)]),
        )

    def _month_start(self, day: int) -> int:
        """The first day of a day's month on which the shop was open."""
        return max(0, day - self._days.date(day).day + 1)

    def _plan(self, day: int) -> _Plan:
        """The plan of a day's month: a function of the products and the month alone."""
        start = self._month_start(day)
        if start not in self._plans:
            self._plans[start] = self._make_plan(start)
            if len(self._plans) > 4:
                self._plans.popitem(last=False)
        return self._plans[start]

    def _make_plan(self, start: int) -> _Plan:
        last = start + 30  # at least the month's last day
        product = np.arange(self._catalogue.count(last))
        behaviour = self._behaviour
        per_day = self._forecast(start, last, len(product))
        spread = behaviour.last_lead_days - behaviour.first_lead_days + 1
        lead = behaviour.first_lead_days + self._streams.lookup("stock/lead").below(spread, product)
        reorder_point = 1 + (per_day * (lead + behaviour.safety_days)).astype(np.int64)
        lot = 1 + np.ceil(per_day * behaviour.cover_days).astype(np.int64)
        # Counted somewhere in the cycle from one delivery to the next one: with a delivery under way when
        # the stock is under the reorder point, else above it.
        waits = self._unit("stock/waits", product, start) < lead / (behaviour.cover_days + lead)
        under = 1 + self._unit("stock/count", product, start) * (reorder_point - 1)
        above = reorder_point + 1 + self._unit("stock/count", product, start) * lot
        due = start + 1 + self._streams.lookup("stock/due").below(lead, product, np.full(len(product), start))
        return _Plan(
            count=np.where(waits, under, above).astype(np.int64),
            due=np.where(waits, due, -1),
            reorder_point=reorder_point,
            lot=lot,
            lead_days=lead,
        )

    def _unit(self, name: str, product: Ints, start: int) -> NDArray[np.float64]:
        return self._streams.lookup(name).unit(product, np.full(len(product), start))

    def _forecast(self, start: int, last: int, products: int) -> NDArray[np.float64]:
        """Units of each product expected per day of a month, from a sample of baskets.

        A product that is not on sale on the last day is expected to sell like the middle one.
        """
        orders = _SAMPLE_PER_PRODUCT * products
        lines = self._orders.sample_lines(last, orders, self._streams.of_day("stock/forecast", start))
        per_order = np.bincount(lines.product, lines.quantity, products) / orders
        on_sale = self._catalogue.on_sale(last)
        expected = np.full(products, np.median(per_order[on_sale]))
        expected[on_sale] = per_order[on_sale]
        return expected * np.mean([len(self._demand.buyers(start + n).customer) for n in range(_WEEK)])
