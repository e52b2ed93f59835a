"""The ledger keeps the etag of a file that came from an object store: whole seconds tell too little there."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add it; a file that came from a folder has none."""
    op.execute("alter table raw.load_ledger add column etag text")


def downgrade() -> None:
    """There is no way back: the ledger is the memory of the warehouse."""
    raise NotImplementedError("Restore a backup instead.")
