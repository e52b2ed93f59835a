"""What views, seeds, and attributes of tables were made from: an unchanged one is left alone."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

DDL = """
create table ops.applied_definitions (
    model text primary key,
    digest text not null,
    applied_at timestamptz not null default clock_timestamp()
);
comment on table ops.applied_definitions is
    'One row per view, seed, and table of dbt''s: what it was last made from.';
comment on column ops.applied_definitions.digest is
    'Of a view its query, of a seed its file, of all the comments, grants and indexes; '
    'another one is applied anew.';
grant select, insert, update, delete on ops.applied_definitions to transformer;
"""


def upgrade() -> None:
    """Make the table; builds fill it."""
    op.execute(DDL)


def downgrade() -> None:
    """There is no way back: the ledger is the memory of the warehouse."""
    raise NotImplementedError("Restore a backup instead.")
