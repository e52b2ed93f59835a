"""What an order's goods are worth: gamma-gamma."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from shop_simulator.behaviour import Segment, Spend
from shop_simulator.csv_text import Ints
from shop_simulator.customers import SEGMENTS
from shop_simulator.demand import GUEST
from shop_simulator.randomness import Streams
from shop_simulator.variates import GammaLookup


class Spending:
    """How much customers want to spend on an order."""

    def __init__(self, streams: Streams, spend: Spend, segments: Mapping[str, Segment]) -> None:
        self._spend = spend
        self._rate = GammaLookup(streams, "spending/rate", spend.q)
        self._factor = np.array([segments[name].spend_factor for name in SEGMENTS])

    def rate(self, customer: Ints) -> NDArray[np.float64]:
        """nu: the rate, in 1 / dollars, of the gamma distribution that a customer's orders come from."""
        return self._rate.at(customer) / (self._spend.gamma * self._spend.scale)

    def goods(
        self, random: np.random.Generator, customer: NDArray[np.int64], segment: NDArray[np.int64]
    ) -> NDArray[np.int64] | None:
        """What each order's goods shall be worth, in cents; None when that is left to chance."""
        if not self._spend.is_modelled:
            return None
        rate = random.standard_gamma(self._spend.q, len(customer)) / (self._spend.gamma * self._spend.scale)
        is_known = customer != GUEST
        rate[is_known] = self.rate(customer[is_known])
        dollars = random.standard_gamma(self._spend.p, len(customer)) / rate * self._factor[segment]
        cents: NDArray[np.int64] = np.rint(100 * dollars).astype(np.int64)
        return cents
