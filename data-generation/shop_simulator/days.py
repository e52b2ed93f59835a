"""The shop's calendar: days counted from the opening day, their dates as text, seasons and weekdays."""

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from shop_simulator.behaviour import Calendar
from shop_simulator.csv_text import Ints, Text, time_of_day

DAY_SECONDS = 86_400

# Sales of a month and a weekday against the average; each table's mean is 1.
_MONTHS = np.array([0.85, 0.82, 0.90, 0.93, 0.98, 0.97, 0.92, 0.95, 1.00, 1.05, 1.30, 1.33])
_WEEKDAYS = np.array([1.08, 1.04, 1.00, 0.98, 0.95, 0.90, 1.05])  # Monday first

# Sales of a holiday against an ordinary day, by month and day; the days after Thanksgiving are in code.
_HOLIDAYS = {
    (1, 1): 0.5,
    (7, 4): 0.8,
    **{(12, day): 1.2 for day in range(8, 18)},
    (12, 24): 0.6,
    (12, 25): 0.4,
    (12, 26): 1.3,
}
_AFTER_THANKSGIVING = np.array([2.2, 1.5, 1.4, 2.0])  # Black Friday to Cyber Monday

# Share of a day's traffic by hour (UTC); the shop's customers are awake in the Americas and Europe.
_HOURS = np.array([4, 3, 2, 1, 1, 1, 2, 3, 4, 5, 5, 6, 6, 6, 6, 5, 5, 5, 6, 6, 6, 5, 4, 3])
_HOUR_BOUNDS = np.concatenate([[0.0], np.cumsum(_HOURS) / _HOURS.sum()])
_SECOND_BOUNDS = np.arange(25) * 3600.0


def second_of_day(unit: NDArray[np.float64]) -> NDArray[np.int32]:
    """Seconds since midnight for quantiles in [0, 1) of a day's traffic; rising with the quantile."""
    seconds: NDArray[np.int32] = np.interp(unit, _HOUR_BOUNDS, _SECOND_BOUNDS).astype(np.int32)
    return np.minimum(seconds, np.int32(DAY_SECONDS - 1))


def quantile_of_second(second: NDArray[np.int32]) -> NDArray[np.float64]:
    """The quantile in [0, 1) of a day's traffic at which a second of the day lies."""
    quantiles: NDArray[np.float64] = np.interp(second, _SECOND_BOUNDS, _HOUR_BOUNDS)
    return quantiles


class Days:
    """Dates of a shop that opened on `opening`; day 0 is the opening day."""

    def __init__(self, opening: date, calendar: Calendar | None = None) -> None:
        self.opening = opening
        self._calendar = calendar or Calendar()
        self._iso: Text = np.empty(0, dtype="S10")
        self._busy = np.zeros(1)

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
        """Season times weekday times holiday for `count` days from day `first` on.

        About 1 on average over a year, and always 1 for a calendar without rhythms.
        """
        dates = np.datetime64(self.opening, "D") + np.arange(first, first + count)
        months = dates.astype("datetime64[M]")
        month = months.astype(np.int64) % 12 + 1
        weekday = (dates.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        factors = np.ones(count)
        if self._calendar.has_seasons:
            factors *= _MONTHS[month - 1]
        if self._calendar.has_weekdays:
            factors *= _WEEKDAYS[weekday]
        if self._calendar.has_holidays:
            of_month = (dates - months).astype(np.int64) + 1
            for (holiday_month, holiday), factor in _HOLIDAYS.items():
                factors[(month == holiday_month) & (of_month == holiday)] *= factor
            # Thanksgiving is the fourth Thursday of November, so the Friday after it is from 23 to 29.
            for later, factor in enumerate(_AFTER_THANKSGIVING):
                friday = dates - later
                days = (friday - friday.astype("datetime64[M]")).astype(np.int64) + 1
                is_november = friday.astype("datetime64[M]").astype(np.int64) % 12 == 10
                is_friday = (friday.astype(np.int64) + 3) % 7 == 4
                factors[is_november & is_friday & (days >= 23) & (days <= 29)] *= factor
        return factors

    def business(self, days: int) -> NDArray[np.float64]:
        """The clock of the shop's business: how much traffic there was before each of the days 0 to `days`.

        Counted in days of average traffic; without rhythms it is the calendar.
        """
        if days >= len(self._busy):
            self._busy = np.concatenate([[0.0], np.cumsum(self.traffic(0, 2 * days + 512))])
        return self._busy
