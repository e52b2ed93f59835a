"""Who buys on a given day, and when: BG/NBD on the clock of the shop's business."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shop_simulator.behaviour import Buying
from shop_simulator.csv_text import Ints
from shop_simulator.customers import CustomerBase
from shop_simulator.days import DAY_SECONDS, Days, quantile_of_second, second_of_day
from shop_simulator.randomness import Streams
from shop_simulator.variates import BetaLookup, GammaLookup, exponential

GUEST = -1
"""In place of a customer's number: an order without an account."""

_WEEK = 7.0
# A first purchase follows the registration after one minute to half an hour.
_LEAST_WAIT = 60
_WAIT_SPREAD = 1_740
# Purchases are derived for so many days at once, and so many such blocks are kept.
_BLOCK = 64
_BLOCKS_KEPT = 3
_PORTION = 1 << 17


@dataclass(frozen=True)
class Buyers:
    """One element per order of a day, in order of time."""

    customer: NDArray[np.int64]
    """GUEST for an order without an account."""
    second: NDArray[np.int32]
    """Seconds since midnight."""


@dataclass(frozen=True)
class Histories:
    """What is true about some customers at the end of a day, one element each."""

    customer: NDArray[np.int64]
    orders: NDArray[np.int64]
    """How many they have placed."""
    is_alive: NDArray[np.bool_]
    """Whether they will buy again; false for who never buys."""


@dataclass(frozen=True)
class _Waiting:
    """The next purchase of customers who are alive, one element each."""

    customer: NDArray[np.int64]
    number: NDArray[np.int32]
    """0 is a customer's first purchase."""
    moment: NDArray[np.float64]
    """On the clock of the shop's business."""

    def where(self, chosen: NDArray[np.bool_]) -> "_Waiting":
        return _Waiting(self.customer[chosen], self.number[chosen], self.moment[chosen])

    @staticmethod
    def joined(parts: "list[_Waiting]") -> "_Waiting":
        return _Waiting(
            np.concatenate([part.customer for part in parts]),
            np.concatenate([part.number for part in parts]),
            np.concatenate([part.moment for part in parts]),
        )


_NOBODY = _Waiting(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0))


@dataclass(frozen=True)
class _Block:
    """The purchases of some days, in order of time."""

    customer: NDArray[np.int64]
    second: NDArray[np.int32]
    starts: NDArray[np.int64]
    """Where each day starts, and at last where the last one ends."""


class Demand:
    """Orders per day and the customers who place them.

    A customer's rate, chance of stopping, gaps and deaths are looked up by customer and number of the
    purchase, so a purchase never depends on when or with whom it is derived. Purchases are walked through
    block by block of days from the opening on; a block before the last one starts over.
    """

    def __init__(self, streams: Streams, days: Days, customers: CustomerBase, buying: Buying) -> None:
        self._streams = streams
        self._days = days
        self._customers = customers
        self._buying = buying
        self._is_buyer = streams.lookup("demand/buyer")
        self._wait = streams.lookup("demand/wait")
        self._gap = streams.lookup("demand/gap")
        self._death = streams.lookup("demand/death")
        self._rate = GammaLookup(streams, "demand/rate", buying.r)
        self._dropout = BetaLookup(streams, "demand/dropout", buying.a, buying.b)
        self._blocks: dict[int, _Block] = {}
        self._next_block = 0
        self._waiting = _NOBODY

    def rate(self, customer: Ints) -> NDArray[np.float64]:
        """lambda: purchases per week of each customer while alive."""
        return self._rate.at(customer) / self._buying.alpha

    def dropout(self, customer: Ints) -> NDArray[np.float64]:
        """p: each customer's probability to stop after a repeat purchase."""
        return self._dropout.at(customer)

    def buyers(self, day: int) -> Buyers:
        """The orders of a day, by customers and by guests."""
        number, offset = divmod(day, _BLOCK)
        block = self._block(number)
        part = slice(block.starts[offset], block.starts[offset + 1])
        customer, second = block.customer[part], block.second[part]
        share = self._buying.guest_share
        random = self._streams.of_day("demand/guests", day)
        guests = random.poisson(share / (1 - share) * len(customer))
        second = np.concatenate([second, second_of_day(random.random(guests))])
        order = np.argsort(second, kind="stable")
        return Buyers(np.concatenate([customer, np.full(guests, GUEST)])[order], second[order])

    def histories(self, day: int) -> Iterator[Histories]:
        """All customers registered by the end of a day in order of their number, in portions."""
        until = float(self._days.business(day + 1)[day + 1])
        for start in range(0, self._customers.count(day), _PORTION):
            end = min(start + _PORTION, self._customers.count(day))
            bought, _, waiting = self._walk(self._first_purchases(np.arange(start, end)), until)
            is_alive = np.zeros(end - start, dtype=np.bool_)
            is_alive[waiting.customer - start] = True
            orders = np.bincount(bought - start, minlength=end - start)
            yield Histories(np.arange(start, end), orders, is_alive)

    def _block(self, number: int) -> _Block:
        if number not in self._blocks:
            if number < self._next_block:
                self._blocks, self._next_block, self._waiting = {}, 0, _NOBODY
            while self._next_block <= number:
                self._blocks[self._next_block] = self._advance(self._next_block)
                self._blocks.pop(self._next_block - _BLOCKS_KEPT, None)
                self._next_block += 1
        return self._blocks[number]

    def _advance(self, number: int) -> _Block:
        """Walk through the next block of days."""
        first, end = number * _BLOCK, (number + 1) * _BLOCK
        clock = self._days.business(end)
        new = np.arange(self._customers.count(first - 1), self._customers.count(end - 1))
        waiting = _Waiting.joined([self._waiting, self._first_purchases(new)])
        customer, moment, self._waiting = self._walk(waiting, float(clock[end]))
        order = np.argsort(moment, kind="stable")
        customer, moment = customer[order], moment[order]
        bounds = np.searchsorted(moment, clock[first : end + 1])
        day = np.repeat(np.arange(first, end), np.diff(bounds))
        second = second_of_day((moment - clock[day]) / (clock[day + 1] - clock[day]))
        return _Block(customer, second, bounds)

    def _first_purchases(self, customer: NDArray[np.int64]) -> _Waiting:
        """The first purchases of those who buy at all, soon after they register."""
        customer = customer[self._is_buyer.unit(customer) < self._buying.first_purchase_share]
        day = self._customers.registration_day(customer)
        wait = (_LEAST_WAIT + self._wait.unit(customer) * _WAIT_SPREAD).astype(np.int32)
        second = np.minimum(self._customers.registration_second(customer, day) + wait, DAY_SECONDS - 1)
        clock = self._days.business(int(day.max(initial=0)) + 1)
        moment = clock[day] + quantile_of_second(second) * (clock[day + 1] - clock[day])
        return _Waiting(customer, np.zeros(len(customer), dtype=np.int32), moment)

    def _walk(
        self, waiting: _Waiting, until: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], _Waiting]:
        """Customers and moments of all purchases before `until`, and who waits for a later one.

        A turn of the loop is one purchase of everybody who has one left before `until`.
        """
        is_due = waiting.moment < until
        later = [waiting.where(~is_due)]
        due = waiting.where(is_due)
        rate = self.rate(due.customer)
        customers, moments = [due.customer], [due.moment]
        while len(due.customer):
            is_alive = self._survives(due)
            due, rate = due.where(is_alive), rate[is_alive]
            number = due.number + np.int32(1)
            gap = _WEEK * exponential(self._gap, due.customer, number) / rate
            due = _Waiting(due.customer, number, due.moment + gap)
            is_due = due.moment < until
            later.append(due.where(~is_due))
            due, rate = due.where(is_due), rate[is_due]
            customers.append(due.customer)
            moments.append(due.moment)
        return np.concatenate(customers), np.concatenate(moments), _Waiting.joined(later)

    def _survives(self, bought: _Waiting) -> NDArray[np.bool_]:
        """Whether each customer goes on after a purchase; the first one cannot kill."""
        survives = np.ones(len(bought.customer), dtype=np.bool_)
        repeated = np.flatnonzero(bought.number > 0)
        customer = bought.customer[repeated]
        survives[repeated] = self._death.unit(customer, bought.number[repeated]) >= self.dropout(customer)
        return survives
