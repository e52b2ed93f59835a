"""A warehouse that a test loads files into, and asks what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ecommerce_dw import db
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading import LoadSummary, load
from ecommerce_dw.settings import Settings


@dataclass(eq=False)
class LoadedWarehouse:
    """A migrated warehouse with its landing zones.

    Attributes:
        settings: How it is reached.
        owner: A connection as its owner.
        contracts: What is loaded, by source and entity.
    """

    settings: Settings
    owner: db.Connection
    contracts: dict[str, dict[str, Contract]]

    def load(self, **options: Any) -> LoadSummary:
        """Load what has landed."""
        return load(self.settings, contracts=self.contracts, **options)

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a query as the owner."""
        with self.owner.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall()
