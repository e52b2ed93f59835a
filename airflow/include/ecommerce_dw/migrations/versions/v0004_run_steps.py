"""How long each step of a run took, how much memory its process had, how many rows it moved."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

DDL = """
create table ops.run_steps (
    run_step_id bigint generated always as identity primary key,
    run_id text not null,
    step text not null,
    is_success boolean not null,
    started_at timestamptz not null,
    finished_at timestamptz not null,
    peak_memory_bytes bigint not null,
    row_count bigint
);
comment on table ops.run_steps is 'One row per step of a run and try, in the order in which they ended.';
comment on column ops.run_steps.peak_memory_bytes is
    'Greatest resident memory of the process that ran the step, from its start up to the step''s end; '
    'the database server''s is not in it.';
comment on column ops.run_steps.row_count is
    'Rows loaded, that differed after building, or that changed in publishing; null for other steps.';
create index on ops.run_steps (run_id);
grant select on ops.run_steps to loader, transformer, analyst;
grant insert on ops.run_steps to loader, transformer;
"""


def upgrade() -> None:
    """Make the table; the steps of the pipeline fill it."""
    op.execute(DDL)


def downgrade() -> None:
    """There is no way back: the ledger is the memory of the warehouse."""
    raise NotImplementedError("Restore a backup instead.")
