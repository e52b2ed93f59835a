"""A warehouse that a test loads files into, and asks what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ecommerce_dw import db, pipeline
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading import LoadSummary, load
from ecommerce_dw.settings import Settings
from ecommerce_dw.transform import LAYERS


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


def run_pipeline(settings: Settings, run_id: str) -> None:
    """A run of the pipeline from the load to the publication, without checkpoints."""
    pipeline.load_step(run_id=run_id, business_date=None, settings=settings)
    for layer in LAYERS:
        pipeline.build_step(layer, run_id=run_id, settings=settings)
    pipeline.publish_step(run_id=run_id, settings=settings)
