"""The shop's calendar: days counted from the opening day, their dates as text, seasons and weekdays."""

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from shop_simulator.csv_text import Ints, Text, time_of_day

DAY_SECONDS = 86_400

# Sales of a month and a weekday against the average; each table's mean is 1.
_MONTHS = np.array([0.85, 0.82, 0.90, 0.93, 0.98, 0.97, 0.92, 0.95, 1.00, 1.05, 1.30, 1.33])
_WEEKDAYS = np.array([1.08, 1.04, 1.00, 0.98, 0.95, 0.90, 1.05])  # Monday first

# Share of a day's traffic by hour (UTC); the shop's customers are awake in the Americas and Europe.
_HOURS = np.array([4, 3, 2, 1, 1, 1, 2, 3, 4, 5, 5, 6, 6, 6, 6, 5, 5, 5, 6, 6, 6, 5, 4, 3])
_HOUR_BOUNDS = np.concatenate([[0.0], np.cumsum(_HOURS) / _HOURS.sum()])
_SECOND_BOUNDS = np.arange(25) * 3600.0


def second_of_day(unit: NDArray[np.float64]) -> NDArray[np.int32]:
    """Seconds since midnight for quantiles in [0, 1) of a day's traffic; rising with the quantile."""
    seconds: NDArray[np.int32] = np.interp(unit, _HOUR_BOUNDS, _SECOND_BOUNDS).astype(np.int32)
    return np.minimum(seconds, np.int32(DAY_SECONDS - 1))


class Days:
    """Dates of a shop that opened on `opening`; day 0 is the opening day."""

    def __init__(self, opening: date) -> None:
        self.opening = opening
        self._iso: Text = np.empty(0, dtype="S10")

    def number(self, day: date) -> int:
        """How many days after the opening a date is. Raises ValueError for a date before it."""
        number = (day - self.opening).days
        if number < 0:
            raise ValueError(f"{day} is before the shop's opening on {self.opening}")
        return number

    def date(self, day: int) -> date:
        """The date of a day."""
        return self.opening + timedelta(days=day)

    def iso(self, days: Ints) -> Text:
        """YYYY-MM-DD for each day."""
        last = int(days.max(initial=0))
        if last >= len(self._iso):
            start = np.datetime64(self.opening, "D")
            self._iso = (start + np.arange(2 * last + 512)).astype("S10")
        return self._iso.take(days)

    def timestamps(self, days: Ints, seconds: Ints) -> list[bytes | Text]:
        """YYYY-MM-DD HH:MM:SS as pieces of a cell; seconds count from the given day's midnight on."""
        return [
            self.iso(days + seconds // DAY_SECONDS),
            b" ",
            time_of_day(seconds % DAY_SECONDS),
        ]

    def traffic(self, first: int, count: int) -> NDArray[np.float64]:
        """Season times weekday for `count` days from day `first` on; about 1 on average over a year."""
        dates = np.datetime64(self.opening, "D") + np.arange(first, first + count)
        months = dates.astype("datetime64[M]").astype(np.int64) % 12
        weekdays = (dates.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        factors: NDArray[np.float64] = _MONTHS[months] * _WEEKDAYS[weekdays]
        return factors
