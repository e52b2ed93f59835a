"""What each layer has of what the one before it had, and the name of every difference."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

DDL = """
create sequence ops.reconciliation_measurement_seq;

create table ops.reconciliation (
    source_system text not null,
    entity text not null,
    business_date date,
    from_layer text not null check (from_layer in ('file', 'raw', 'staging', 'warehouse', 'marts_build')),
    to_layer text not null check (to_layer in ('raw', 'staging', 'warehouse', 'marts_build', 'marts')),
    from_object text not null,
    to_object text not null,
    measure text not null,
    value_from numeric not null,
    value_to numeric not null,
    explained numeric not null,
    unexplained numeric generated always as (value_to - value_from - explained) stored not null,
    mismatches bigint not null,
    run_id text not null,
    measurement bigint not null,
    measured_at timestamptz not null default clock_timestamp(),
    unique nulls not distinct (source_system, business_date, entity, from_object, to_object, measure)
);
comment on table ops.reconciliation is
    'One row per source, entity, day, step from one layer to the next, and measure: what was there before, '
    'what came of it, and how much of the difference has a name. Law 8: unexplained is 0.';
comment on column ops.reconciliation.business_date is
    'Up to the warehouse the business date of the files, then the day on which it counts. Null: of no day.';
comment on column ops.reconciliation.mismatches is
    'Rows that are not as expected, whatever the sums: one missing and one too many do not cancel out.';
comment on column ops.reconciliation.measurement is 'Number of the measurement that wrote the row.';
create index on ops.reconciliation (measurement);

create table ops.reconciliation_differences (
    source_system text not null,
    entity text not null,
    business_date date,
    from_object text not null,
    to_object text not null,
    measure text not null,
    name text not null,
    value numeric not null,
    row_count bigint not null,
    meaning text not null,
    see text not null,
    measurement bigint not null,
    unique nulls not distinct (source_system, business_date, entity, from_object, to_object, measure, name)
);
comment on table ops.reconciliation_differences is
    'One row per named difference of ops.reconciliation: what the next layer has more (or, negative, less).';
create index on ops.reconciliation_differences (measurement);
comment on column ops.reconciliation_differences.see is 'Command or query that shows the rows.';

grant select on ops.reconciliation, ops.reconciliation_differences to loader, transformer, analyst;
grant insert, update, delete on ops.reconciliation, ops.reconciliation_differences to transformer;
grant usage on sequence ops.reconciliation_measurement_seq to transformer;
"""


def upgrade() -> None:
    """Make the tables; checkpoints and `ecommerce-dw reconcile` fill them."""
    op.execute(DDL)


def downgrade() -> None:
    """There is no way back: the ledger is the memory of the warehouse."""
    raise NotImplementedError("Restore a backup instead.")
