"""What the shop sells on a given day: the assortment, its prices, and a day's new and changed products."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from faker import Faker
from numpy.typing import NDArray

from shop_simulator import csv_text as csv
from shop_simulator.behaviour import Affinity, Popularity, Prices
from shop_simulator.csv_text import Ints, Piece, Text
from shop_simulator.days import Days
from shop_simulator.randomness import Streams
from shop_simulator.schedule import ChangeSchedule

_T = TypeVar("_T")

COLUMNS = (
    "product_id",
    "product_name",
    "category",
    "subcategory",
    "brand",
    "price",
    "cost",
    "weight",
    "dimensions",
    "description",
    "created_date",
    "is_active",
    "updated_at",
)

# category: (subcategory, nouns, lowest and highest price in dollars, lowest and highest weight in grams)
_ASSORTMENT: dict[str, tuple[tuple[str, tuple[str, ...], tuple[int, int], tuple[int, int]], ...]] = {
    "Electronics": (
        ("Audio", ("Headphones", "Speaker", 'Turntable, 12"'), (25, 350), (150, 4000)),
        ("Displays", ('24" Monitor', '27" Monitor', "Projector"), (120, 800), (2500, 7000)),
        ("Accessories", ("USB-C Cable", "Charger", "Keyboard", "Mouse"), (8, 120), (40, 900)),
    ),
    "Home & Kitchen": (
        ("Cookware", ("Pan", "Stock Pot", "Knife Set, 5 Pieces"), (18, 220), (400, 5000)),
        ("Lighting", ("Table Lamp", "Floor Lamp", "Pendant"), (20, 260), (600, 6000)),
        ("Storage", ("Basket", "Shelf Box", "Rack"), (8, 90), (300, 4000)),
    ),
    "Clothing": (
        ("Women", ("Jacket", "Dress", "Sweater"), (20, 180), (200, 1300)),
        ("Men", ("Shirt", "Jacket", "Trousers"), (18, 160), (200, 1300)),
        ("Shoes", ("Sneakers", "Boots", "Sandals"), (25, 190), (500, 1800)),
    ),
    "Sports & Outdoors": (
        ("Fitness", ("Kettlebell", "Yoga Mat", "Resistance Band"), (9, 140), (200, 16000)),
        ("Camping", ("Tent, 2 Persons", "Sleeping Bag", "Stove"), (20, 320), (400, 5000)),
    ),
    "Beauty": (
        ("Skin Care", ("Cream", "Serum, 30 ml", "Cleanser"), (6, 85), (60, 400)),
        ("Hair Care", ("Shampoo", "Conditioner", "Brush"), (5, 45), (80, 600)),
    ),
    "Toys & Games": (
        ("Board Games", ("Strategy Game", "Card Game", "Puzzle, 1000 Pieces"), (9, 80), (200, 2200)),
        ("Building", ("Block Set", "Train Set", "Model Kit"), (12, 150), (300, 3500)),
    ),
    "Books": (
        ("Cooking", ("Cookbook", "Baking Book"), (9, 55), (300, 1600)),
        ("Travel", ("Travel Guide", "Atlas"), (9, 70), (250, 2400)),
    ),
}
CATEGORIES = tuple(_ASSORTMENT)
_QUALITIES = (
    "Classic",
    "Compact",
    "Deluxe",
    "Everyday",
    '"Pro"',
    "Slim",
    "Soft",
    "Solid",
    "Urban",
    "Vintage",
)
_MATERIALS = ("Aluminium", "Bamboo", "Cotton", "Crème", "Graphite", "Linen", "Oak", "Rosé", "Steel", "Wool")
_BRAND_FORMS = ("{}", "{} & Co.", "{} Goods", "Atelier {}", "{}, Ltd.", "{}-Werke")
_BRANDS = 48
_SENTENCES = 160

# Products grow with the square root of the scale: a shop with a hundred times the sales has ten times
# the assortment.
_OPENING_PRODUCTS = 440
_NEW_PER_DAY = 0.085
_SMALLEST_ASSORTMENT = 40

# Planted pairs are taken from well-sold products, after the very first, that are cheap enough for any basket
# and on sale for long.
_FIRST_PAIRED_RANK = 2
_PAIRED_LIFE_DAYS = 1_500
_PAIRED_CENTS = 6_000

_SHORT_LIFE_DAYS = 180
_LIFE_DAYS = 4_000
_NO_WEIGHT_SHARE = 0.02


@dataclass(frozen=True)
class _Facts:
    """What never changes about a product, by product number; texts are ready-quoted."""

    created: NDArray[np.int64]
    """The day it is created on."""
    end: NDArray[np.int64]
    """The first day it is no longer on sale (it may lie far in the future)."""
    base_price: NDArray[np.int64]
    """In cents."""
    category_code: NDArray[np.int64]
    """Position in CATEGORIES."""
    name: Text
    category: Text
    subcategory: Text
    brand: Text
    weight: Text
    dimensions: Text
    description: Text


@dataclass(frozen=True)
class Offer:
    """What can be bought on one day, the cheapest first; amounts in cents."""

    products: NDArray[np.int64]
    """Numbers of the products on sale."""
    price: NDArray[np.int64]
    """Unit price by position in `products`, rising."""
    popularity: NDArray[np.float64]
    """Cumulative share of demand by position in `products`; the last one is 1."""


@dataclass(frozen=True)
class Pairs:
    """Products that are bought together more often than by chance, one element per pair."""

    product: NDArray[np.int64]
    partner: NDArray[np.int64]
    """What an order with `product` gets, too; no product is in two pairs."""


class Catalogue:
    """All products the shop ever has, numbered from 0 in the order of their creation.

    Changes to the catalogue take effect at midnight, so a product has one price on any one day.
    """

    def __init__(
        self,
        streams: Streams,
        days: Days,
        scale: float,
        prices: Prices,
        popularity: Popularity,
        affinity: Affinity,
    ) -> None:
        self._streams = streams
        self._days = days
        self._has_price_changes = prices.has_changes
        self._elasticity = np.array([prices.elasticity[category] for category in CATEGORIES])
        self._zipf_exponent = popularity.zipf_exponent
        self._affinity = affinity
        size = scale**0.5
        self._opening = max(_SMALLEST_ASSORTMENT, round(_OPENING_PRODUCTS * size))
        self._per_day = _NEW_PER_DAY * size
        self._prices = ChangeSchedule(streams, "products/price", min_gap=60, max_gap=240, jitter=45)
        self._costs = ChangeSchedule(streams, "products/cost", min_gap=180, max_gap=600, jitter=120)
        fake = Faker("en_US")
        fake.seed_instance(streams.key("products/words"))
        self._brands = [_BRAND_FORMS[i % len(_BRAND_FORMS)].format(fake.last_name()) for i in range(_BRANDS)]
        self._sentences = [fake.sentence(nb_words=9) for _ in range(_SENTENCES)]
        # Exact Zipf ranks for the opening assortment; what comes later takes a place between them.
        ranks = np.argsort(np.argsort(streams.lookup("products/rank").bits(np.arange(self._opening))))
        self._opening_rank = ranks.astype(np.float64)
        self._made: list[tuple[object, ...]] = []
        self._facts: _Facts | None = None

    def count(self, day: int) -> int:
        """How many products were ever created by the end of a day; 0 before the opening."""
        return 0 if day < 0 else self._opening + int(day * self._per_day)

    def price(self, product: Ints, day: int) -> NDArray[np.int64]:
        """Unit price in cents on a day: within 12 % under and 15 % over the product's base price."""
        product = np.asarray(product)
        facts = self._static(day)
        if not self._has_price_changes:
            return _price_tag(facts.base_price[product])
        version = self._prices.version(product, day - facts.created.take(product))
        factor = 880 + self._streams.lookup("products/price level").below(271, product, version)
        return _price_tag(facts.base_price[product] * factor // 1000)

    def cost(self, product: Ints, day: int) -> NDArray[np.int64]:
        """Unit cost in cents on a day: 43 to 76 % of the base price, so always under the price."""
        product = np.asarray(product)
        facts = self._static(day)
        version = self._costs.version(product, day - facts.created.take(product))
        share = 450 + self._streams.lookup("products/cost share").below(251, product)
        factor = 950 + self._streams.lookup("products/cost level").below(131, product, version)
        return facts.base_price[product] * share * factor // 1_000_000

    def category(self, product: Ints, day: int) -> NDArray[np.int64]:
        """Position in CATEGORIES of each product; all were created by `day`."""
        return self._static(day).category_code.take(product)

    def on_sale(self, day: int) -> NDArray[np.int64]:
        """Numbers of the products on sale on a day, rising."""
        return np.flatnonzero(self._static(day).end[: self.count(day)] > day)

    def offer(self, day: int, sold_out: Ints | None = None) -> Offer:
        """What can be bought on a day: what is on sale except for the products that are sold out."""
        facts = self._static(day)
        products = self.on_sale(day)
        if sold_out is not None and len(sold_out):
            products = np.setdiff1d(products, sold_out, assume_unique=True)
        price = self.price(products, day)
        demand = (self._rank(products) + 1.0) ** -self._zipf_exponent
        relative = price / _price_tag(facts.base_price[products])
        demand *= relative ** -self._elasticity[facts.category_code[products]]
        order = np.argsort(price, kind="stable")
        popularity = np.cumsum(demand[order])
        return Offer(products[order], price[order], popularity / popularity[-1])

    def pairs(self) -> Pairs:
        """The planted pairs, all among the products of the opening day."""
        facts = self._static(0)
        ranked = np.argsort(self._opening_rank)
        is_fit = (facts.end - facts.created >= _PAIRED_LIFE_DAYS) & (facts.base_price <= _PAIRED_CENTS)
        fit = ranked[is_fit[ranked]]
        count = min(self._affinity.pairs, len(fit) // 4)
        chosen = fit[_FIRST_PAIRED_RANK : _FIRST_PAIRED_RANK + 2 * count]
        chosen = chosen[np.argsort(self._streams.lookup("products/pair").bits(chosen))]
        return Pairs(chosen[:count], chosen[count:])

    def truth(self, day: int) -> dict[str, Any]:
        """The planted pairs, and each product's rank of popularity, base price and category by a day."""
        facts = self._static(day)
        pairs = self.pairs()
        products = np.arange(self.count(day))
        return {
            "pairs": [
                {"product": product, "partner": partner, "probability": self._affinity.probability}
                for product, partner in zip(_ids(pairs.product), _ids(pairs.partner), strict=True)
            ],
            "products": {
                product: {"rank": rank, "base_price_cents": price, "category": CATEGORIES[category]}
                for product, rank, price, category in zip(
                    _ids(products),
                    (self._rank(products) + 1.0).tolist(),
                    _price_tag(facts.base_price[products]).tolist(),
                    facts.category_code[products],
                    strict=True,
                )
            },
        }

    def _rank(self, product: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rank of popularity from 0; a product that came after the opening has one between two others'."""
        spot = self._streams.lookup("products/late rank").unit(product) * self._opening
        is_opening = product < self._opening
        return np.where(is_opening, self._opening_rank[np.where(is_opening, product, 0)], spot)

    def changed_on(self, day: int) -> NDArray[np.int64]:
        """Products that are new on a day or of which price, cost or activity changes on it, rising."""
        facts = self._static(day)
        new = np.arange(self.count(day - 1), self.count(day))
        old = np.arange(self.count(day - 1))
        age = day - facts.created.take(old)
        end = facts.end.take(old)
        changed = end == day
        if self._has_price_changes:
            changed |= self._prices.latest(old, age)[1] == age
        changed |= self._costs.latest(old, age)[1] == age
        return np.concatenate([old[changed & (end >= day)], new])

    def totals(self, day: int) -> dict[str, int]:
        """What a day's file holds in sum."""
        new = self.count(day) - self.count(day - 1)
        return {"new": new, "changed": len(self.changed_on(day)) - new}

    def chunks(self, day: int, rows: int) -> Iterator[tuple[bytes | bytearray, int]]:
        """CSV lines of a day's changed and new products, at most `rows` at a time, with their number."""
        products = self.changed_on(day)
        for start in range(0, len(products), rows):
            part = products[start : start + rows]
            yield csv.render(self._columns(part, day), len(part)), len(part)

    def _columns(self, product: NDArray[np.int64], day: int) -> list[csv.Column]:
        facts = self._static(day)
        return [
            identifier(product),
            [facts.name.take(product)],
            [facts.category.take(product)],
            [facts.subcategory.take(product)],
            [facts.brand.take(product)],
            csv.money(self.price(product, day)),
            csv.money(self.cost(product, day)),
            [facts.weight.take(product)],
            [facts.dimensions.take(product)],
            [facts.description.take(product)],
            [self._days.iso(facts.created.take(product))],
            [csv.booleans(facts.end.take(product) > day)],
            [self._days.iso(np.array([day]))[0] + b" 00:00:00"],
        ]

    def _static(self, day: int) -> _Facts:
        """The facts of at least all products created by the end of a day."""
        if self._facts is None or self.count(day) > len(self._made):
            self._grow(self.count(day))
            numbers = np.arange(len(self._made))
            created = self._first_day(numbers)
            life = _SHORT_LIFE_DAYS + self._streams.lookup("products/life").below(_LIFE_DAYS, numbers)
            *texts, base_price = zip(*self._made, strict=True)
            self._facts = _Facts(
                created,
                created + life,
                np.array(base_price, dtype=np.int64),
                np.array([CATEGORIES.index(category) for category in texts[1]]),
                *(csv.table(map(str, column)) for column in texts),
            )
        return self._facts

    def _first_day(self, product: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first day on which `count` is greater than the product's number."""
        late = np.maximum(product - self._opening + 1, 0)
        day: NDArray[np.int64] = np.ceil(late / self._per_day).astype(np.int64)
        # Division and multiplication round differently; settle on what `count` says.
        day -= (day > 0) & ((np.maximum(day - 1, 0) * self._per_day).astype(np.int64) >= late)
        day += (day * self._per_day).astype(np.int64) < late
        return day

    def _grow(self, count: int) -> None:
        """Make the texts of all products up to `count`; those made before stay as they are."""
        start = len(self._made)
        count = max(count, self._opening) + count // 8  # ahead of need, as a growth costs
        numbers = np.arange(start, count)
        fields = {
            name: self._streams.lookup(f"products/{name}").unit(numbers).tolist()
            for name in ("kind", "noun", "quality", "material", "brand", "price", "weight", "size", "text")
        }
        kinds = [(category, *kind) for category, group in _ASSORTMENT.items() for kind in group]
        for row in range(len(numbers)):
            self._made.append(self._describe(kinds, {name: units[row] for name, units in fields.items()}))

    def _describe(
        self,
        kinds: list[tuple[str, str, tuple[str, ...], tuple[int, int], tuple[int, int]]],
        unit: dict[str, float],
    ) -> tuple[object, ...]:
        """One product's texts and base price (cents), from uniform numbers in [0, 1) by field."""
        category, subcategory, nouns, (cheapest, dearest), (lightest, heaviest) = _of(kinds, unit["kind"])
        noun = _of(nouns, unit["noun"])
        material = _of(_MATERIALS, unit["material"])
        name = f"{_of(_QUALITIES, unit['quality'])} {material} {noun}"
        grams = round(lightest + (heaviest - lightest) * unit["weight"] ** 2)
        side = 5 + int(unit["size"] * 60)
        first = int(unit["text"] * _SENTENCES)
        sentence = self._sentences[first]
        description = f"{noun} in {material.lower()}, {sentence[0].lower()}{sentence[1:]}"
        return (
            name,
            category,
            subcategory,
            _of(self._brands, unit["brand"]),
            f"{grams // 1000}.{grams % 1000:03d}" if unit["size"] >= _NO_WEIGHT_SHARE else "",
            f"{side}x{max(3, side * 2 // 3)}x{max(2, side // 3)}" if unit["size"] >= _NO_WEIGHT_SHARE else "",
            "" if unit["text"] > 0.97 else description,
            round(100 * (cheapest + (dearest - cheapest) * unit["price"] ** 2)),
        )


def _price_tag(cents: NDArray[np.int64]) -> NDArray[np.int64]:
    """The amount as a price: it ends in 49 or 99."""
    return (cents + 25) // 50 * 50 - 1


def _of(values: Sequence[_T], unit: float) -> _T:
    return values[int(unit * len(values))]


def identifier(product: Ints) -> list[Piece]:
    """product_id: P and eight digits."""
    return [b"P", *csv.padded(np.asarray(product) + 1, 8)]


def _ids(product: Ints) -> list[str]:
    return [f"P{number + 1:08d}" for number in product]
