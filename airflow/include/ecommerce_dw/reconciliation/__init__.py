"""Reconciliation: what each layer has of what the one before it had, and the name of every difference.

file → raw → staging → warehouse → marts_build → marts, rows and amounts, enumerated from the contracts. The
outcome is in `ops.reconciliation` and `ops.reconciliation_differences`; see docs/reconciliation.md.
"""

from __future__ import annotations

from ecommerce_dw.reconciliation.measurement import (
    STEPS,
    Finding,
    NamedDifference,
    findings,
    measure,
    taken_in,
)
from ecommerce_dw.reconciliation.plan import Plan, one_day, touched_files, whole

__all__ = [
    "STEPS",
    "Finding",
    "NamedDifference",
    "Plan",
    "findings",
    "measure",
    "one_day",
    "taken_in",
    "touched_files",
    "whole",
]
