"""Great Expectations at the boundaries: three checkpoints, their suites as code, and the Data Docs.

Importing this package does not import Great Expectations.
"""

from __future__ import annotations

from ecommerce_dw.quality.data_docs import build_data_docs
from ecommerce_dw.quality.model import (
    CHECKPOINTS,
    Checkpoint,
    ExpectationOutcome,
    ValidationSummary,
)
from ecommerce_dw.quality.validation import validate

__all__ = [
    "CHECKPOINTS",
    "Checkpoint",
    "ExpectationOutcome",
    "ValidationSummary",
    "build_data_docs",
    "validate",
]
