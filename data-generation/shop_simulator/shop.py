"""The simulated shop: any day of it, in any order, without the days before."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from math import isfinite

from shop_simulator import csv_text, customers, orders, products
from shop_simulator.customers import CustomerBase
from shop_simulator.days import Days
from shop_simulator.demand import Demand
from shop_simulator.orders import OrderBook
from shop_simulator.pools import Pools, make_pools
from shop_simulator.products import Catalogue
from shop_simulator.randomness import Streams

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


ENTITIES: Mapping[str, Entity] = {
    entity.name: entity
    for entity in (
        Entity(
            "customers",
            customers.COLUMNS,
            lambda shop, day: shop.customers.chunks(day, shop.pools, CHUNK_ROWS),
        ),
        Entity("products", products.COLUMNS, lambda shop, day: shop.catalogue.chunks(day, CHUNK_ROWS)),
        Entity("orders", orders.ORDER_COLUMNS, lambda shop, day: shop.orders.order_chunks(day, CHUNK_ROWS)),
        Entity(
            "order_items", orders.ITEM_COLUMNS, lambda shop, day: shop.orders.item_chunks(day, CHUNK_ROWS)
        ),
    )
}
"""The entities by name, in the order their files are made."""


class Shop:
    """One shop, fully determined by seed, opening date and scale.

    Scale 1 is about 8,500 customers, 20,000 orders and 50,000 order lines in the first 730 days; customers
    and orders grow in proportion to the scale, products with its square root. Memory is bounded by the
    number of customers and products and by 15 days of orders.

    Raises ValueError for a seed below 0 or a scale that is not a positive number.
    """

    def __init__(self, seed: int, opening: date, scale: float = 1.0) -> None:
        if seed < 0:
            raise ValueError(f"the seed must be 0 or greater, not {seed}")
        if not (isfinite(scale) and scale > 0):
            raise ValueError(f"the scale must be a number greater than 0, not {scale}")
        self.seed = seed
        self.opening = opening
        self.scale = scale
        self.days = Days(opening)
        self._streams = Streams(seed)

    def day(self, day: date) -> "ShopDay":
        """One day of the shop. Raises ValueError for a date before the opening."""
        return ShopDay(self, day, self.days.number(day))

    @cached_property
    def pools(self) -> Pools:
        """Names and places to choose from."""
        return make_pools(self._streams)

    @cached_property
    def customers(self) -> CustomerBase:
        """All customers of the shop."""
        return CustomerBase(self._streams, self.days, self.scale)

    @cached_property
    def catalogue(self) -> Catalogue:
        """All products of the shop."""
        return Catalogue(self._streams, self.days, self.scale)

    @cached_property
    def orders(self) -> OrderBook:
        """All orders of the shop."""
        demand = Demand(self._streams, self.days, self.customers)
        return OrderBook(self._streams, self.days, demand, self.catalogue)


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


def find_entity(name: str) -> Entity:
    """The entity of that name. Raises ValueError, naming the known ones, when there is none."""
    try:
        return ENTITIES[name]
    except KeyError:
        raise ValueError(f"unknown entity {name!r}; known are {', '.join(ENTITIES)}") from None
