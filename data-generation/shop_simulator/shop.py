"""The simulated shop: any day of it, in any order, without the days before."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from math import isfinite

from shop_simulator import csv_text, customers, marketing, orders, payments, products, returns, stock, web
from shop_simulator.behaviour import Behaviour
from shop_simulator.customers import CustomerBase
from shop_simulator.days import Days
from shop_simulator.demand import Demand
from shop_simulator.marketing import Marketing
from shop_simulator.orders import OrderBook
from shop_simulator.payments import Payments
from shop_simulator.pools import Pools, make_pools
from shop_simulator.products import Catalogue
from shop_simulator.randomness import Streams
from shop_simulator.returns import Returns
from shop_simulator.stock import Stock
from shop_simulator.truth import Totals
from shop_simulator.web import Web

CHUNK_ROWS = 16_384
"""Rows rendered at a time: few enough to stay in the processor's cache."""

Chunk = tuple[bytes | bytearray, int]
"""CSV text and the number of data rows in it."""


@dataclass(frozen=True)
class Entity:
    """A kind of file the shop delivers every day."""

    name: str
    columns: tuple[str, ...]
    chunks: Callable[["Shop", int], Iterator[Chunk]]
    """The lines of a day (counted from the opening) without the header, in chunks."""
    totals: Callable[["Shop", int], Totals] = lambda shop, day: {}
    """What a day's file holds in sum, for the truth."""


ENTITIES: Mapping[str, Entity] = {
    entity.name: entity
    for entity in (
        Entity(
            "customers",
            customers.COLUMNS,
            lambda shop, day: shop.customers.chunks(day, shop.pools, CHUNK_ROWS),
            lambda shop, day: shop.customers.totals(day),
        ),
        Entity(
            "products",
            products.COLUMNS,
            lambda shop, day: shop.catalogue.chunks(day, CHUNK_ROWS),
            lambda shop, day: shop.catalogue.totals(day),
        ),
        Entity(
            "orders",
            orders.ORDER_COLUMNS,
            lambda shop, day: shop.orders.order_chunks(day, CHUNK_ROWS),
            lambda shop, day: shop.orders.order_totals(day),
        ),
        Entity(
            "order_items",
            orders.ITEM_COLUMNS,
            lambda shop, day: shop.orders.item_chunks(day, CHUNK_ROWS),
            lambda shop, day: shop.orders.item_totals(day),
        ),
        Entity(
            "payments",
            payments.COLUMNS,
            lambda shop, day: shop.payments.chunks(day, CHUNK_ROWS),
            lambda shop, day: shop.payments.totals(day),
        ),
        Entity(
            "returns",
            returns.COLUMNS,
            lambda shop, day: shop.returns.chunks(day, CHUNK_ROWS),
            lambda shop, day: shop.returns.totals(day),
        ),
        Entity(
            "inventory",
            stock.COLUMNS,
            lambda shop, day: shop.stock.chunks(day, CHUNK_ROWS),
            lambda shop, day: shop.stock.totals(day),
        ),
        Entity(
            "web_events",
            web.COLUMNS,
            lambda shop, day: shop.web.chunks(day, CHUNK_ROWS),
            lambda shop, day: shop.web.totals(day),
        ),
        Entity(
            "marketing_spend",
            marketing.COLUMNS,
            lambda shop, day: shop.marketing.chunks(day),
            lambda shop, day: shop.marketing.totals(day),
        ),
    )
}
"""The entities by name, in the order their files are made."""


class Shop:
    """One shop, fully determined by seed, opening date, scale and behaviour.

    Scale 1 is about 8,500 customers, 20,000 orders and 50,000 order lines in the first 730 days; customers
    and orders grow in proportion to the scale, products with its square root. Memory is bounded by the
    number of customers and products, 15 days of orders, what comes back of 45 days, and 80 days of stock.

    Raises ValueError for a seed below 0 or a scale that is not a positive number.
    """

    def __init__(
        self, seed: int, opening: date, scale: float = 1.0, behaviour: Behaviour | None = None
    ) -> None:
        if seed < 0:
            raise ValueError(f"the seed must be 0 or greater, not {seed}")
        if not (isfinite(scale) and scale > 0):
            raise ValueError(f"the scale must be a number greater than 0, not {scale}")
        self.seed = seed
        self.opening = opening
        self.scale = scale
        self.behaviour: Behaviour = behaviour or Behaviour()
        self.days = Days(opening, self.behaviour.calendar)
        self._streams = Streams(seed)

    def day(self, day: date) -> "ShopDay":
        """One day of the shop. Raises ValueError for a date before the opening."""
        return ShopDay(self, day, self.days.number(day))

    @cached_property
    def pools(self) -> Pools:
        """Names and places to choose from."""
        return make_pools(self._streams)

    @cached_property
    def marketing(self) -> Marketing:
        """What brings customers to the shop."""
        return Marketing(self._streams, self.days, self.scale, self.behaviour.marketing)

    @cached_property
    def customers(self) -> CustomerBase:
        """All customers of the shop."""
        return CustomerBase(self._streams, self.days, self.marketing)

    @cached_property
    def catalogue(self) -> Catalogue:
        """All products of the shop."""
        known = self.behaviour
        return Catalogue(self._streams, self.days, self.scale, known.prices, known.popularity, known.affinity)

    @cached_property
    def demand(self) -> Demand:
        """Who buys when."""
        return Demand(self._streams, self.days, self.customers, self.behaviour.buying)

    @cached_property
    def orders(self) -> OrderBook:
        """All orders of the shop."""
        return OrderBook(
            self._streams,
            self.days,
            self.demand,
            self.customers,
            self.catalogue,
            self.behaviour,
            (lambda day: self.stock.sold_out(day)) if self.behaviour.stock.is_limited else None,
        )

    @cached_property
    def stock(self) -> Stock:
        """What is there to be sold."""
        return Stock(self._streams, self.days, self.catalogue, self.demand, self.orders, self.behaviour.stock)

    @cached_property
    def payments(self) -> Payments:
        """How the orders are paid."""
        return Payments(self._streams, self.days, self.orders, self.behaviour.payments)

    @cached_property
    def returns(self) -> Returns:
        """What is sent back."""
        return Returns(self._streams, self.days, self.orders, self.catalogue, self.behaviour.returns)

    @cached_property
    def web(self) -> Web:
        """Who visits the web shop."""
        return Web(
            self._streams,
            self.days,
            self.pools,
            self.customers,
            self.marketing,
            self.catalogue,
            self.orders,
            self.behaviour.web,
        )


@dataclass(frozen=True)
class ShopDay:
    """What the shop delivers about one day."""

    shop: Shop
    date: date
    number: int
    """Days since the opening."""

    def chunks(self, entity: str) -> Iterator[Chunk]:
        """A file's CSV text in pieces, the header first. Raises ValueError for an unknown entity."""
        known = find_entity(entity)
        yield csv_text.header(known.columns), 0
        yield from known.chunks(self.shop, self.number)

    def csv(self, entity: str) -> bytes:
        """A file's CSV text. Raises ValueError for an unknown entity."""
        return b"".join(text for text, _ in self.chunks(entity))

    def totals(self, entity: str) -> Totals:
        """What a file holds in sum. Raises ValueError for an unknown entity."""
        return find_entity(entity).totals(self.shop, self.number)


def find_entity(name: str) -> Entity:
    """The entity of that name. Raises ValueError, naming the known ones, when there is none."""
    try:
        return ENTITIES[name]
    except KeyError:
        raise ValueError(f"unknown entity {name!r}; known are {', '.join(ENTITIES)}") from None
