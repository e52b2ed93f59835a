"""What is in the baskets of a day: products by popularity, in sum worth what the customers want to spend."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shop_simulator.products import Offer
from shop_simulator.randomness import mixture

_LINES = mixture(195, 265, 225, 155, 95, 45, 20)  # 1 to 7 lines are wanted; small budgets hold fewer
_QUANTITY = mixture(0, 720, 180, 60, 25, 15)
# A basket has at most so many lines that each could cost the price below which this share of demand lies.
_CHEAP_SHARE = 0.2
# A line that is not the last one leaves at least this part of an even share to each of the others.
_EVEN_SHARE = 0.8
# The last line's price is within this share of what is left.
_WINDOW = 0.07
# A product that is there already is replaced by one that is up to this share of the offer dearer or cheaper.
_NEAR_SHARE = 0.04


@dataclass(frozen=True)
class Wishes:
    """What the customers of some orders want; one element per order."""

    discount_share: NDArray[np.float64]
    """Probability that a line is discounted."""
    goods: NDArray[np.int64] | None
    """What the lines are worth in sum after discounts, in cents; None: whatever comes of it."""


@dataclass(frozen=True)
class Baskets:
    """Order lines, one element each, in order of orders and of lines within them."""

    order: NDArray[np.int64]
    """Position of the order, from 0."""
    position: NDArray[np.int64]
    """Number of the line within the order, from 1."""
    choice: NDArray[np.int64]
    """Position of the product in the offer."""
    quantity: NDArray[np.int64]
    gross: NDArray[np.int64]
    """Quantity times price, in cents."""
    discount: NDArray[np.int64]
    """In cents."""
    sizes: NDArray[np.int64]
    """How many lines each order has."""


class _Filling:
    """Baskets while they are filled: line by line, all orders at once."""

    def __init__(
        self, random: np.random.Generator, offer: Offer, wishes: Wishes, discount_percents: tuple[int, ...]
    ) -> None:
        self._random = random
        self._offer = offer
        self._wishes = wishes
        self._percents = np.array(discount_percents, dtype=np.int64)
        orders = len(wishes.discount_share)
        self.sizes = draw(random, _LINES, orders).astype(np.int64) + 1
        self.sizes = np.minimum(self.sizes, len(offer.products))
        if wishes.goods is not None:
            affordable = wishes.goods // offer.price[np.searchsorted(offer.popularity, _CHEAP_SHARE)]
            self.sizes = np.minimum(self.sizes, np.maximum(affordable, 1))
        self._left = None if wishes.goods is None else wishes.goods.copy()
        self._chosen = np.full((orders, int(self.sizes.max(initial=0))), -1, dtype=np.int32)
        self.parts: list[tuple[NDArray[np.int64], ...]] = []

    def add_line(self, number: int) -> None:
        """Add line `number` (from 0) to the orders that have one."""
        orders = np.flatnonzero(self.sizes > number)
        percent = self._percent(orders)
        wanted = draw(self._random, _QUANTITY, len(orders)).astype(np.int64)
        if self._left is None:
            choice, quantity = self._by_popularity(np.full(len(orders), len(self._offer.price))), wanted
        else:
            budget = np.maximum(self._left[orders], 0) / (1 - percent / 100)
            others = self.sizes[orders] - number - 1
            is_last = others == 0
            choice, quantity = self._within(budget * (1 - _EVEN_SHARE * others / (others + 1)), wanted)
            last = self._rest_of(budget[is_last], wanted[is_last])
            choice[is_last], quantity[is_last] = last
        choice = self._not_twice(orders, choice, number)
        self._chosen[orders, number] = choice
        gross, discount = self._priced(choice, quantity, percent)
        if self._left is not None:
            self._left[orders] -= gross - discount
        self.parts.append((orders, np.full(len(orders), number), choice, quantity, gross, discount))

    def add_partners(self, partner: NDArray[np.int64], probability: float) -> None:
        """Add the partner of each chosen product (-1: it has none) with a probability, unless it is there."""
        orders = np.concatenate([part[0] for part in self.parts])
        wanted = partner[np.concatenate([part[2] for part in self.parts])]
        is_added = (wanted >= 0) & (self._random.random(len(wanted)) < probability)
        orders, wanted = orders[is_added], wanted[is_added]
        is_missing = ~(self._chosen[orders] == wanted[:, None]).any(axis=1)
        orders, wanted = orders[is_missing], wanted[is_missing]
        by_order = np.argsort(orders, kind="stable")
        orders, wanted = orders[by_order], wanted[by_order]
        earlier = np.arange(len(orders)) - np.searchsorted(orders, orders)
        gross, discount = self._priced(wanted, np.ones_like(wanted), self._percent(orders))
        number = self.sizes[orders] + earlier
        self.parts.append((orders, number, wanted, np.ones_like(wanted), gross, discount))
        self.sizes = self.sizes + np.bincount(orders, minlength=len(self.sizes))

    def baskets(self) -> Baskets:
        """All lines in their order."""
        start = np.cumsum(self.sizes) - self.sizes
        columns = [np.empty(int(self.sizes.sum()), dtype=np.int64) for _ in range(6)]
        for part in self.parts:
            place = start[part[0]] + part[1]
            for column, values in zip(columns, part, strict=True):
                column[place] = values
        order, number, choice, quantity, gross, discount = columns
        return Baskets(order, number + 1, choice, quantity, gross, discount, self.sizes)

    def _percent(self, orders: NDArray[np.int64]) -> NDArray[np.int64]:
        percent = self._percents.take(self._random.integers(0, len(self._percents), len(orders)))
        return percent * (self._random.random(len(orders)) < self._wishes.discount_share[orders])

    def _priced(
        self, choice: NDArray[np.int64], quantity: NDArray[np.int64], percent: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        gross = quantity * self._offer.price[choice]
        return gross, (gross * percent + 50) // 100

    def _by_popularity(
        self, end: NDArray[np.int64], start: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """A product per order from the positions `start` (0) to before `end`, by popularity."""
        low = 0.0 if start is None else np.where(start > 0, self._offer.popularity[start - 1], 0.0)
        high = self._offer.popularity[end - 1]
        target = low + self._random.random(len(end)) * (high - low)
        return np.minimum(np.searchsorted(self._offer.popularity, target, side="right"), end - 1)

    def _within(
        self, budget: NDArray[np.float64], wanted: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A product that costs no more than the budget, by popularity, as often as wanted or affordable."""
        end = np.maximum(np.searchsorted(self._offer.price, budget, side="right"), 1)
        choice = self._by_popularity(end)
        affordable = (budget // self._offer.price[choice]).astype(np.int64)
        return choice, np.clip(affordable, 1, wanted)

    def _rest_of(
        self, budget: NDArray[np.float64], wanted: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A product and quantity that use up the budget: its price is close to what one may cost."""
        price = self._offer.price
        most = np.maximum((budget // price[0]).astype(np.int64), 1)
        least = np.ceil(budget / price[-1]).astype(np.int64)
        quantity = np.maximum(np.minimum(wanted, most), least)
        each = budget / quantity
        start = np.searchsorted(price, each * (1 - _WINDOW))
        end = np.searchsorted(price, each * (1 + _WINDOW), side="right")
        # Nothing costs about as much: the next dearer product or, above all prices, the dearest one.
        start = np.where(end > start, start, np.minimum(start, len(price) - 1))
        return self._by_popularity(np.maximum(end, start + 1), start), quantity

    def _not_twice(
        self, orders: NDArray[np.int64], choice: NDArray[np.int64], number: int
    ) -> NDArray[np.int64]:
        """No order has a product twice: in place of a repeated one comes another one.

        It is of about the same price or, where the price does not matter, drawn again.
        """
        left = np.arange(len(orders))
        size = len(self._offer.price)
        while len(left) and number:
            is_repeated = (self._chosen[orders[left], :number] == choice[left, None]).any(axis=1)
            left = left[is_repeated]
            if self._left is None:
                choice[left] = self._by_popularity(np.full(len(left), size))
            else:
                steps = 1 + self._random.integers(0, 2 + int(_NEAR_SHARE * size), len(left))
                steps *= 1 - 2 * self._random.integers(0, 2, len(left))
                choice[left] = np.clip(np.abs(choice[left] + steps), 0, size - 1)
        return choice


def fill(
    random: np.random.Generator,
    offer: Offer,
    wishes: Wishes,
    discount_percents: tuple[int, ...],
    partner: NDArray[np.int64],
    probability: float,
) -> Baskets:
    """Fill the baskets of some orders.

    All lines but the last are drawn by popularity from what the budget allows; the last one takes what is
    left, so that the goods are worth what was wished up to a few percent of that line, without bias. Then
    the planted partner (by position in the offer, -1: none) of each product is added on top.
    """
    filling = _Filling(random, offer, wishes, discount_percents)
    for number in range(int(filling.sizes.max(initial=0))):
        filling.add_line(number)
    if filling.parts:
        filling.add_partners(partner, probability)
    return filling.baskets()


def draw(random: np.random.Generator, codes: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Codes from a table of 1000, each as likely."""
    return codes.take(random.integers(0, len(codes), count, dtype=np.uint16))
