"""From landed files to raw tables: discovery, streaming COPY, rejects, the ledger, people's decisions."""

from __future__ import annotations

from ecommerce_dw.loading.loader import load
from ecommerce_dw.loading.outcome import EntityLoad, FileOutcome, LoadSummary

__all__ = ["EntityLoad", "FileOutcome", "LoadSummary", "load"]
