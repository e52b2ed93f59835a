"""Which landed files are to be read again although they are loaded in their present form."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading.discover import LandedFile


@dataclass(frozen=True)
class Reload:
    """A choice of landed files.

    Attributes:
        first, last: Business dates, both included.
        source: Of this source alone; None means all.
        entities: Of these entities alone; empty means all.
    """

    first: dt.date
    last: dt.date
    source: str | None = None
    entities: tuple[str, ...] = ()

    def covers(self, file: LandedFile) -> bool:
        """Whether a landed file is among them; one without a date is not."""
        return (
            self.covers_entity(file.contract.source, file.contract.entity)
            and file.business_date is not None
            and self.first <= file.business_date <= self.last
        )

    def covers_entity(self, source: str, entity: str) -> bool:
        """Whether files of an entity are among them, on the right days."""
        return self.source in (None, source) and (not self.entities or entity in self.entities)

    def check(self, contracts: Mapping[str, Mapping[str, Contract]]) -> None:
        """Refuse a choice that names nothing.

        Raises:
            ValueError: The days are in the wrong order, or there is no such source or entity.
        """
        if self.last < self.first:
            raise ValueError(f"The last day {self.last} is before the first day {self.first}.")
        if self.source is not None and self.source not in contracts:
            raise ValueError(f"There is no source {self.source}; there are {', '.join(sorted(contracts))}.")
        known = {
            entity
            for source, entities in contracts.items()
            if self.source in (None, source)
            for entity in entities
        }
        if unknown := sorted(set(self.entities) - known):
            raise ValueError(
                f"There is no entity {', '.join(unknown)}; there are {', '.join(sorted(known))}."
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values; `from_dict` takes them."""
        return {
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "source": self.source,
            "entities": list(self.entities),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reload:
        """What `as_dict` gave."""
        return cls(
            dt.date.fromisoformat(values["first"]),
            dt.date.fromisoformat(values["last"]),
            values.get("source"),
            tuple(values.get("entities") or ()),
        )
