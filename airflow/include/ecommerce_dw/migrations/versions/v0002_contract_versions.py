"""Which version of each contract the raw tables follow, and what each brought."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

DDL = """
create table ops.contract_versions (
    source text not null,
    entity text not null,
    version text not null,
    contract_hash text not null,
    content jsonb not null,
    changes text[] not null,
    applied_at timestamptz not null default clock_timestamp(),
    primary key (source, entity, version)
);
comment on table ops.contract_versions is
    'One row per version of a contract that its raw table has followed.';
comment on column ops.contract_versions.contract_hash is
    'Digest of the parts that decide about rows; raw.load_ledger.contract_hash says which files it judged.';
comment on column ops.contract_versions.content is 'Everything the contract said.';
comment on column ops.contract_versions.changes is 'What changed since the version before, in words.';
grant select on ops.contract_versions to loader, transformer, analyst;
grant insert on ops.contract_versions to loader;
"""


def upgrade() -> None:
    """Make the table; the loader fills it when it next looks at the raw tables."""
    op.execute(DDL)


def downgrade() -> None:
    """There is no way back: the ledger is the memory of the warehouse."""
    raise NotImplementedError("Restore a backup instead.")
