"""Builds analyze `ops.touched` when much was touched, for what reads it in the same run."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Grant it."""
    op.execute("grant maintain on ops.touched to transformer")


def downgrade() -> None:
    """There is no way back: the ledger is the memory of the warehouse."""
    raise NotImplementedError("Restore a backup instead.")
