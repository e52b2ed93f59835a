"""When the attributes of a customer or product change, computable for any day without history."""

import numpy as np
from numpy.typing import NDArray

from shop_simulator.csv_text import Ints
from shop_simulator.randomness import Streams


class ChangeSchedule:
    """An endless series of change days for each member, counted in days since the member's first day.

    Change k = 1, 2, … of a member falls on day k·gap - phase + jitter(k), where gap and phase belong to the
    member. The jitter is shorter than the smallest gap, so changes keep their order, fall on different days
    (at least `min_gap - jitter + 1` days apart) and never on the first day; so the number of changes up to a
    day is found in constant time.
    """

    def __init__(self, streams: Streams, name: str, *, min_gap: int, max_gap: int, jitter: int) -> None:
        if not 0 < jitter <= min_gap <= max_gap:
            raise ValueError("a schedule needs 0 < jitter <= min_gap <= max_gap")
        self._gap = streams.lookup(f"{name}/gap")
        self._phase = streams.lookup(f"{name}/phase")
        self._shift = streams.lookup(f"{name}/shift")
        self._min_gap = min_gap
        self._span = max_gap - min_gap + 1
        self._jitter = jitter

    def version(self, member: Ints, age: Ints) -> NDArray[np.int64]:
        """How many changes each member has had by the end of its day `age` (>= 0)."""
        return self.latest(member, age)[0]

    def latest(self, member: Ints, age: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Number of changes by the end of day `age`, and the age at the latest of them (0: none yet)."""
        gap = self._min_gap + self._gap.below(self._span, member)
        phase = self._phase.below(gap, member)
        version = (age + phase) // gap
        base = version * gap - phase
        day = base + self._shift.below(self._jitter, member, version)
        not_yet = (day > age) & (version > 0)
        if not_yet.any():
            version = version - not_yet
            day = np.where(not_yet, base - gap + self._shift.below(self._jitter, member, version), day)
        return version, np.where(version > 0, day, 0)
