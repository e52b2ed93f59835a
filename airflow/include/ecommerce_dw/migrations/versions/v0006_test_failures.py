"""The first rows that failed a data test, so that nobody has to run it again to see them."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

DDL = """
create table ops.test_failures (
    test_failure_id bigint generated always as identity primary key,
    run_id text not null,
    node_id text not null,
    failing_row jsonb not null,
    kept_at timestamptz not null default clock_timestamp()
);
comment on table ops.test_failures is
    'One row per run, data test that failed or warned, and row it found: the first ones of each test.';
comment on column ops.test_failures.node_id is 'The test, as in ops.dbt_results.';
comment on column ops.test_failures.failing_row is 'What the test''s query gave.';
create index on ops.test_failures (run_id);
-- rows may hold personal data: for who mends the build, not for analysts
revoke all on ops.test_failures from analyst, loader;
grant select, insert, delete on ops.test_failures to transformer;
"""


def upgrade() -> None:
    """Make the table; a build fills it."""
    op.execute(DDL)


def downgrade() -> None:
    """There is no way back: the ledger is the memory of the warehouse."""
    raise NotImplementedError("Restore a backup instead.")
