"""A range of days of a defected shop: into the landing zone, and its truth into a folder apart from it."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from shop_simulator.arrivals import Arrivals, FileDefect, perform
from shop_simulator.defect_truth import Account, write_defects
from shop_simulator.landing import Delivered
from shop_simulator.shop import Shop


class DefectedShop:
    """The days `first` to `last` of a shop, with a rate of defects.

    Raises ValueError for a rate that is not between 0 and 0.2.
    """

    def __init__(
        self,
        shop: Shop,
        rate: float,
        entities: Sequence[str],
        first: date,
        last: date,
        *,
        keeps_account: bool = False,
    ) -> None:
        """With `keeps_account`, what lands is taken down for `write_truth`."""
        self._arrivals = Arrivals(shop, rate, entities)
        self._rate = rate
        self._first = first
        self._last = last
        self._keeps_account = keeps_account
        # Rows may name what came before the first day: only from the opening on everything is known.
        self._account = Account() if keeps_account and first == shop.opening else None
        self._defects: list[FileDefect] = []

    def land(self, out: Path, entity: str, day: date) -> list[Delivered]:
        """Let happen what happens to an entity's files on a day and is not undone up to the last day."""
        arrivals = self._arrivals.arrivals(day, entity=entity, last=self._last)
        done = [found for arrival in arrivals if (found := perform(out, arrival)) is not None]
        if self._keeps_account:
            self._defects += self._arrivals.defects(day, entity)
        if self._account is not None:
            file = self._arrivals.in_effect(entity, day, self._last)
            if file is not None:
                self._account.take(file)
        return done

    def clean_rows(self, entity: str, day: date) -> int:
        """Rows of a day's file before anything is done to it."""
        return self._arrivals.clean_rows(entity, day)

    def write_truth(self, folder: Path) -> dict[str, Any]:
        """Write `defects.csv` about what was landed; the section of the truth about defects.

        What is expected of it all is in it when the days begin with the opening. Raises OSError when the
        folder cannot be written.
        """
        write_defects(folder, self._defects, self._account, self._first, self._last)
        return {
            "rate": self._rate,
            "injected": dict(sorted(Counter(found.defect.kind for found in self._defects).items())),
            "expected": self._account.expected() if self._account is not None else None,
        }
