"""Whose personal data was erased, without saying whose: rows blanked, files rewritten."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

DDL = """
alter table raw.load_ledger add column erased_at timestamptz, add column erased_sha256 text;
comment on column raw.load_ledger.erased_at is
    'When personal data in the file''s rows was blanked; sha256 stays that of the bytes that were delivered.';
comment on column raw.load_ledger.erased_sha256 is
    'Digest of the landed file without them; null while it is still to be rewritten.';

grant select (erased_at, erased_sha256) on raw.load_ledger to analyst;

create table ops.erasures (
    erasure_id bigint generated always as identity primary key,
    source text not null,
    cause text not null check (cause in ('request', 'load', 'restore')),
    rows_blanked bigint not null,
    rejected_rows_blanked bigint not null,
    erased_by text not null default session_user,
    erased_at timestamptz not null default clock_timestamp()
);
comment on table ops.erasures is
    'One row per erasure of personal data: on request, and where a load or a restore brought it back.';
grant select on ops.erasures to transformer, analyst, pii_reader;
grant select, insert on ops.erasures to loader;
"""


def upgrade() -> None:
    """Make them; `ecommerce-dw forget-customer` fills them."""
    op.execute(DDL)


def downgrade() -> None:
    """There is no way back: the ledger is the memory of the warehouse."""
    raise NotImplementedError("Restore a backup instead.")
