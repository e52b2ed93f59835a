"""A schema for what people were shown, and when: it cannot be computed again, so no law speaks about it."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

DDL = """
create schema history authorization transformer;
comment on schema history is
    'What people were shown, and when. Not computed from raw: kept by backups, outside laws and rebuilds.';
grant usage on schema history to analyst;
alter default privileges for role transformer in schema history grant select on tables to analyst;
"""


def upgrade() -> None:
    """Make the schema; the snapshots after a publication fill it."""
    op.execute(DDL)


def downgrade() -> None:
    """There is no way back: the ledger is the memory of the warehouse."""
    raise NotImplementedError("Restore a backup instead.")
