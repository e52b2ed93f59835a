"""Who buys on a given day, and when: the part a behavioural model of the customers replaces."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shop_simulator.customers import CustomerBase
from shop_simulator.days import DAY_SECONDS, Days, second_of_day
from shop_simulator.randomness import Streams

_FIRST_ORDER_SHARE = 0.6
"""Share of customers who buy on the day they register, within the half hour that follows."""
_REPEATS_PER_CUSTOMER_DAY = 0.0057
"""Mean orders per active customer and day beside the first one: two a year."""
_ACTIVE_DAYS = 730
"""Customers come back for two years after their registration."""


@dataclass(frozen=True)
class Buyers:
    """One element per order of a day, in order of time."""

    customer: NDArray[np.int64]
    second: NDArray[np.int32]
    """Seconds since midnight."""


class Demand:
    """Orders per day and the customers who place them."""

    def __init__(self, streams: Streams, days: Days, customers: CustomerBase) -> None:
        self._streams = streams
        self._days = days
        self._customers = customers
        self._first = streams.lookup("demand/first order")
        self._loyalty = streams.lookup("demand/loyalty")
        self._weight = np.zeros(1, dtype=np.int64)

    def buyers(self, day: int) -> Buyers:
        """The orders of a day: first ones by the day's new customers, others by customers before them."""
        random = self._streams.of_day("demand", day)
        new = self._customers.registered_on(day)
        new = new[self._first.unit(new) < _FIRST_ORDER_SHARE]
        wait = 60 + (self._first.unit(new, new) * 1740).astype(np.int32)
        new_second = np.minimum(self._customers.registration_second(new, day) + wait, DAY_SECONDS - 1)
        youngest = self._customers.count(day - 1)
        oldest = self._customers.count(day - 1 - _ACTIVE_DAYS)
        traffic = float(self._days.traffic(day, 1)[0])
        orders = random.poisson(_REPEATS_PER_CUSTOMER_DAY * (youngest - oldest) * traffic)
        cumulative = self._cumulative_weight(youngest)
        low, high = cumulative[oldest], cumulative[youngest]
        target = low + (random.random(orders) * (high - low)).astype(np.int64)
        regular = np.searchsorted(cumulative, target, side="right") - 1
        second = np.concatenate([new_second, second_of_day(random.random(orders))])
        order = np.argsort(second, kind="stable")
        return Buyers(np.concatenate([new, regular])[order], second[order])

    def _cumulative_weight(self, customers: int) -> NDArray[np.int64]:
        """Element n is the sum of the first n customers' weights; whole numbers, so that sums are exact.

        The weight rises with the cube of a uniform number: a tenth of the customers place a third of the
        repeat orders.
        """
        known = len(self._weight) - 1
        if customers > known:
            members = np.arange(known, max(customers, known + known // 2))
            weights = 20 + (1000 * self._loyalty.unit(members) ** 3).astype(np.int64)
            self._weight = np.concatenate([self._weight, self._weight[-1] + np.cumsum(weights)])
        return self._weight
