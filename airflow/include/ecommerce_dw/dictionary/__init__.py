"""The data dictionary: every table and column, written from the data contracts and dbt's manifest."""

from __future__ import annotations

from ecommerce_dw.dictionary.pages import IncompleteError, pages

__all__ = ["IncompleteError", "pages"]
