"""How the shop is found: what each channel and campaign shows, what it costs and whom it brings.

Cause runs forward: impressions bring clicks, clicks bring registrations, each at a known rate, and the
customers who register on a day are exactly those that the day's clicks brought. Channels nobody pays for
have visits in place of clicks and stand in no file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shop_simulator import csv_text as csv
from shop_simulator.csv_text import Ints
from shop_simulator.days import Days
from shop_simulator.operations import MarketingBehaviour
from shop_simulator.randomness import Streams

COLUMNS = ("spend_date", "channel", "campaign", "impressions", "clicks", "spend")

_BLOCK = 256
"""Days drawn at once: a day's figures follow from its block, whichever day is asked for first."""


@dataclass(frozen=True)
class Reach:
    """What the sources brought; rows are days, columns the sources in their order."""

    impressions: NDArray[np.int64]
    """0 where nobody pays."""
    clicks: NDArray[np.int64]
    """Visits where nobody pays."""
    registrations: NDArray[np.int64]
    spend: NDArray[np.int64]
    """In cents."""

    def of(self, day: int) -> "Reach":
        """The figures of one day, one element per source."""
        return Reach(self.impressions[day], self.clicks[day], self.registrations[day], self.spend[day])


class Marketing:
    """What all sources bring on any day, and which customer came by which."""

    def __init__(self, streams: Streams, days: Days, scale: float, behaviour: MarketingBehaviour) -> None:
        self._streams = streams
        self._days = days
        self._scale = scale
        self._behaviour = behaviour
        self.sources = behaviour.sources
        self._is_paid = np.array([source.is_paid for source in self.sources])
        self._runs = np.array([[month in source.months for source in self.sources] for month in range(1, 13)])
        self._channels = csv.table(source.channel for source in self.sources)
        self._campaigns = csv.table(source.campaign for source in self.sources)
        none = np.zeros((0, len(self.sources)), dtype=np.int64)
        self._reach = Reach(none, none, none, none)
        self._registered = np.zeros(0, dtype=np.int64)
        self._by_source = np.zeros(0, dtype=np.int64)
        self._stride = np.zeros(0, dtype=np.int64)
        self._offset = np.zeros(0, dtype=np.int64)

    def registered(self, day: int) -> NDArray[np.int64]:
        """Registrations by the end of each day, at least up to `day`; asked for a later day it only grows."""
        self._know(day)
        return self._registered

    def reach(self, day: int) -> Reach:
        """What the sources brought on a day."""
        self._know(day)
        return self._reach.of(day)

    def source_of(self, customer: Ints, day: Ints) -> NDArray[np.int64]:
        """The source each customer came by, for customers with the day they registered on.

        A day's customers are dealt to its sources in strides from a random one on, so that the order of
        registration within the day says nothing about the source.
        """
        if len(customer) == 0:
            return np.zeros(0, dtype=np.int64)
        self._know(int(day.max()))
        start = np.where(day > 0, self._registered[np.maximum(day - 1, 0)], 0)
        count = self._registered[day] - start
        dealt = start + (self._offset[day] + (customer - start) * self._stride[day]) % count
        position: NDArray[np.int64] = np.searchsorted(self._by_source, dealt, side="right")
        return position % len(self.sources)

    def runs(self, first: int, count: int) -> NDArray[np.bool_]:
        """Which sources (columns) run on each of `count` days (rows) from day `first` on."""
        dates = np.datetime64(self._days.opening, "D") + np.arange(first, first + count)
        return self._runs[dates.astype("datetime64[M]").astype(np.int64) % 12]

    def chunks(self, day: int) -> Iterator[tuple[bytes | bytearray, int]]:
        """CSV lines of a day's spend, one per campaign that runs, with their number."""
        reach, campaigns = self.reach(day), self._in_file(day)
        columns: list[csv.Column] = [
            [self._days.date(day).isoformat().encode()],
            [self._channels.take(campaigns)],
            [self._campaigns.take(campaigns)],
            csv.plain(reach.impressions.take(campaigns)),
            csv.plain(reach.clicks.take(campaigns)),
            csv.money(reach.spend.take(campaigns)),
        ]
        yield csv.render(columns, len(campaigns)), len(campaigns)

    def totals(self, day: int) -> dict[str, int]:
        """What a day's file of spend holds in sum, and what its clicks brought."""
        reach, campaigns = self.reach(day), self._in_file(day)
        return {
            "impressions": int(reach.impressions[campaigns].sum()),
            "clicks": int(reach.clicks[campaigns].sum()),
            "spend_cents": int(reach.spend[campaigns].sum()),
            "registrations": int(reach.registrations[campaigns].sum()),
        }

    def truth(self, last: int) -> list[dict[str, Any]]:
        """For each channel and campaign what it brought from the opening to the day `last`."""
        self._know(last)
        return [
            {
                "channel": source.channel,
                "campaign": source.campaign,
                "conversion": source.conversion,
                "impressions": int(self._reach.impressions[: last + 1, number].sum()),
                "clicks": int(self._reach.clicks[: last + 1, number].sum()),
                "registrations": int(self._reach.registrations[: last + 1, number].sum()),
                "spend_cents": int(self._reach.spend[: last + 1, number].sum()),
            }
            for number, source in enumerate(self.sources)
        ]

    def _in_file(self, day: int) -> NDArray[np.int64]:
        """The sources with a row in a day's file."""
        return np.flatnonzero(self.runs(day, 1)[0] & self._is_paid)

    def _know(self, day: int) -> None:
        """Have the figures of at least all days up to one; what was known stays as it is."""
        known = len(self._registered)
        if day < known:
            return
        blocks = [self._block(number) for number in range(known // _BLOCK, max(day, 2 * known) // _BLOCK + 1)]
        self._reach = Reach(
            *(
                np.concatenate([getattr(part, name) for part in (self._reach, *blocks)])
                for name in ("impressions", "clicks", "registrations", "spend")
            )
        )
        per_day = self._reach.registrations.sum(axis=1)
        self._registered = np.cumsum(per_day)
        self._by_source = np.cumsum(self._reach.registrations.ravel())
        self._stride = _strides(per_day)
        self._offset = self._streams.lookup("marketing/deal").below(per_day, np.arange(len(per_day)))

    def _block(self, block: int) -> Reach:
        """The figures of one block of days."""
        behaviour = self._behaviour
        random = self._streams.of_day("marketing", block)
        first = block * _BLOCK
        numbers = np.arange(first, first + _BLOCK)
        growth = np.minimum(numbers / behaviour.growth_days, 1.0)
        rate = behaviour.first_rate + (behaviour.later_rate - behaviour.first_rate) * growth
        expected = self._scale * rate * self._days.traffic(first, _BLOCK)
        shape = (_BLOCK, len(self.sources))

        def noise(width: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
            return 1.0 + width * (2.0 * random.random(shape) - 1.0)

        def each(name: str) -> NDArray[np.float64]:
            return np.array([getattr(source, name) for source in self.sources], dtype=np.float64)

        per_impression = each("conversion") * each("click_rate")
        shown = expected[:, None] * each("share") / per_impression * self.runs(first, _BLOCK)
        shown *= noise(behaviour.reach_noise, (_BLOCK, 1)) * noise(behaviour.reach_noise, shape)
        seen = (shown + random.random(shape)).astype(np.int64)
        clicks = random.binomial(seen, each("click_rate"))
        registrations = random.binomial(clicks, each("conversion"))
        cost = clicks * each("click_cost") * noise(behaviour.cost_noise, shape)
        return Reach(seen * self._is_paid, clicks, registrations, np.rint(cost).astype(np.int64))


def _strides(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each count n a number near 0.618 n that shares no divisor with it: its multiples visit all of n."""
    strides = np.maximum((counts * 0.618).astype(np.int64), 1)
    while True:
        shares_a_divisor = (np.gcd(strides, counts) != 1) & (counts > 1)
        if not shares_a_divisor.any():
            return strides
        strides += shares_a_divisor
