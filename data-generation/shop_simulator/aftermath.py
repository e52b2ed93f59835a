"""What follows from a day's orders, on that day or on later ones: payments, returns."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shop_simulator.days import DAY_SECONDS


class Aftermath:
    """Rows that are derived from the orders of one day and fall on it or at most `last_age` days later.

    `derive` gives a day's rows with a field `second`, counted from that day's midnight on. It is asked for
    the days a file looks back on, the oldest first, and for each of them once while they are looked back on.
    """

    def __init__(self, derive: Callable[[int], NDArray[np.void]], last_age: int) -> None:
        self._derive = derive
        self._last_age = last_age
        self._kept: dict[int, tuple[NDArray[np.void], NDArray[np.int64]]] = {}

    def on(self, day: int) -> NDArray[np.void]:
        """The rows that fall on a day, those of the oldest orders first."""
        first = max(day - self._last_age, 0)
        self._kept = {kept: rows for kept, rows in self._kept.items() if first <= kept <= day}
        parts = []
        for placed in range(first, day + 1):
            if placed not in self._kept:
                self._kept[placed] = self._by_age(self._derive(placed))
            rows, bounds = self._kept[placed]
            parts.append(rows[bounds[day - placed] : bounds[day - placed + 1]])
        raw = np.concatenate([part.view(np.dtype((np.void, part.dtype.itemsize))) for part in parts])
        return raw.view(parts[0].dtype)

    def _by_age(self, rows: NDArray[np.void]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
        """The rows ordered by the days they fall on, and where each of these days starts."""
        ages = rows["second"] // DAY_SECONDS
        assert ages.max(initial=0) <= self._last_age
        order = np.argsort(ages, kind="stable")
        return rows.take(order), np.searchsorted(ages.take(order), np.arange(self._last_age + 2))
