"""Roles, schemas, the load ledger, rejects, runs and every outcome table of `ops`."""

from __future__ import annotations

from alembic import context, op
from psycopg2 import sql

revision = "0001"
down_revision = None

ROLES = ("loader", "transformer", "analyst")

DDL = """
-- Who owns what: the loader makes raw tables, the transformer makes everything dbt builds.
create schema raw authorization loader;
create schema staging authorization transformer;
create schema intermediate authorization transformer;
create schema warehouse authorization transformer;
create schema warehouse_parts authorization transformer;
create schema marts_build authorization transformer;
create schema marts authorization transformer;

grant usage on schema raw to transformer, analyst;
grant usage on schema ops to loader, transformer, analyst;
grant usage, create on schema ops to transformer;
grant usage on schema staging, intermediate, warehouse, warehouse_parts, marts to analyst;
alter default privileges for role loader in schema raw grant select on tables to transformer, analyst;
alter default privileges for role transformer
    in schema staging, intermediate, warehouse, warehouse_parts, marts, ops grant select on tables to analyst;

-- raw ---------------------------------------------------------------------------------------------
create table raw.load_ledger (
    file_id bigint generated always as identity primary key,
    source text not null,
    entity text not null,
    business_date date,
    path text not null,
    part text,
    version integer not null check (version >= 1),
    is_current boolean not null default true,
    contract_hash text not null,
    sha256 text not null,
    bytes bigint not null,
    modified_at timestamptz,
    header bytea,
    rows_read bigint not null default 0,
    rows_loaded bigint not null default 0,
    rows_rejected bigint not null default 0,
    status text not null check (status in ('loading', 'loaded', 'refused', 'discarded', 'withdrawn')),
    is_threshold_waived boolean not null default false,
    load_id bigint unique,
    run_id text,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    message text,
    unique (source, path, version),
    check (status <> 'loaded' or rows_read = rows_loaded + rows_rejected)
);
comment on table raw.load_ledger is
    'One row per path and version of a landed file. Law 1: rows_read = rows_loaded + rows_rejected.';
comment on column raw.load_ledger.load_id is
    'Drawn under a lock as the transaction''s last statement, so load ids commit in order.';
comment on column raw.load_ledger.part is 'Name of the additional part of its day (`fix-001`), or null.';
comment on column raw.load_ledger.header is
    'The file''s header with its line end, byte for byte: rejected rows are exported under it.';
comment on column raw.load_ledger.is_current is 'Whether this is the newest version of its path.';
create unique index load_ledger_current on raw.load_ledger (source, path) where is_current;
create sequence raw.load_id_seq;

create table raw.rejected_rows (
    rejected_id bigint generated always as identity primary key,
    file_id bigint not null references raw.load_ledger,
    source text not null,
    entity text not null,
    business_date date,
    path text not null,
    line_number bigint not null,
    raw_line text not null,
    raw_bytes bytea not null,
    keys jsonb not null default '{}',
    reasons text[] not null check (cardinality(reasons) > 0),
    resolved_by text,
    rejected_at timestamptz not null default clock_timestamp()
);
comment on table raw.rejected_rows is 'One row per record that did not load, with every reason.';
comment on column raw.rejected_rows.raw_line is
    'The record, readable: bytes that are not UTF-8 are shown as \\xNN.';
comment on column raw.rejected_rows.raw_bytes is 'The record as it was, byte for byte, without its line end.';
comment on column raw.rejected_rows.keys is
    'Those of the contract''s touch keys that could be read from the record.';
comment on column raw.rejected_rows.resolved_by is 'Path of the file that settled it, or null.';
create index on raw.rejected_rows (file_id);

create table raw.removed_keys (
    load_id bigint not null,
    source text not null,
    entity text not null,
    keys jsonb not null
);
comment on table raw.removed_keys is
    'Touch keys of rows that were taken out when a file was replaced or withdrawn, by the load that did it.';
create index on raw.removed_keys (source, entity, load_id);

-- ops ---------------------------------------------------------------------------------------------
create table ops.runs (
    run_seq bigint generated always as identity primary key,
    run_id text not null unique,
    business_date date,
    source text,
    is_full_refresh boolean not null default false,
    load_id_to bigint,
    validated_seq bigint,
    status text not null default 'running' check (status in ('running', 'succeeded', 'failed')),
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    message text
);
comment on table ops.runs is 'One row per run of the pipeline.';
comment on column ops.runs.load_id_to is
    'Upper end of the load ids this run transforms, frozen once when its loading ended.';
comment on column ops.runs.validated_seq is
    'Greatest ops.touched.touched_seq when the marts were validated; what was built later was not validated.';

create view ops.current_run as
select run_id, run_seq, business_date, source, is_full_refresh, load_id_to
from ops.runs
where load_id_to is not null
order by run_id = current_setting('ecommerce_dw.run_id', true) desc nulls last, started_at desc, run_seq desc
limit 1;
comment on view ops.current_run is
    'The run whose window the models read: the one this session works for (setting ecommerce_dw.run_id), '
    'else the latest one whose upper end is frozen.';

create table ops.load_attempts (
    attempt_id bigint generated always as identity primary key,
    run_id text,
    source text not null,
    entity text,
    path text not null,
    outcome text not null,
    file_id bigint,
    message text,
    started_at timestamptz not null,
    finished_at timestamptz not null
);
comment on table ops.load_attempts is 'One row per file looked at, skips included.';

create table ops.model_marks (
    model text primary key,
    load_id bigint not null,
    touched_seq bigint not null default 0,
    definition text,
    moved_at timestamptz not null default clock_timestamp()
);
comment on table ops.model_marks is
    'How far each incremental model (and publication) has taken in the loads.';
comment on column ops.model_marks.touched_seq is
    'How far the model has read ops.touched: it has seen all its parents wrote up to here.';
comment on column ops.model_marks.definition is
    'Digest of the code and seeds the model was last built with; another one counts as everything touched.';

create table ops.touched (
    touched_seq bigint generated always as identity,
    model text not null,
    load_id bigint not null,
    source_system text,
    key text not null,
    customer_id text,
    product_id text,
    day date,
    changed_from timestamptz,
    touched_at timestamptz not null default clock_timestamp()
);
comment on table ops.touched is
    'What each model replaced, written in the transaction that replaced it; its children read it. '
    'Key * means everything (a full refresh).';
create index on ops.touched (model, load_id);
create index on ops.touched (model, touched_seq);
create index on ops.touched (touched_seq);

create table ops.dbt_results (
    run_id text not null,
    invocation_id text not null,
    layer text not null,
    node_id text not null,
    resource_type text not null,
    status text not null,
    execution_seconds double precision not null,
    rows_affected bigint,
    failures bigint,
    message text,
    finished_at timestamptz not null default clock_timestamp()
);
create index on ops.dbt_results (run_id);

create table ops.expectation_results (
    result_id bigint generated always as identity primary key,
    run_id text not null,
    checkpoint text not null check (checkpoint in ('raw', 'warehouse', 'marts')),
    suite text not null,
    name text not null,
    expectation_type text not null,
    object text not null,
    source_system text,
    severity text not null check (severity in ('critical', 'warning', 'info')),
    is_success boolean not null,
    is_accepted boolean not null default false,
    observed jsonb,
    unexpected_count bigint,
    message text,
    checked_at timestamptz not null default clock_timestamp()
);
create index on ops.expectation_results (run_id);

create table ops.accepted_expectations (
    name text primary key,
    reason text not null default '',
    load_id_to bigint not null,
    accepted_by text not null default session_user,
    accepted_at timestamptz not null default clock_timestamp()
);
comment on table ops.accepted_expectations is
    'Failed expectations accepted by a person, for what was loaded up to load_id_to.';

create table ops.publications (
    publication_id bigint generated always as identity primary key,
    run_id text,
    load_id_to bigint,
    table_name text not null,
    is_full boolean not null,
    rows_inserted bigint not null,
    rows_updated bigint not null,
    rows_deleted bigint not null,
    published_at timestamptz not null default clock_timestamp()
);
comment on table ops.publications is 'One row per published table and publication: how many rows changed.';

create table ops.source_freshness (
    run_id text not null,
    source text not null,
    business_date date not null,
    max_loaded_date date,
    staleness_days integer,
    status text not null check (status in ('fresh', 'warn', 'stale', 'none')),
    checked_at timestamptz not null default clock_timestamp()
);

create table ops.incidents (
    incident_id bigint generated always as identity primary key,
    scope text not null,
    object text not null,
    rule text not null,
    severity text not null check (severity in ('critical', 'warning')),
    title text not null,
    opened_at timestamptz not null default clock_timestamp(),
    opened_run_id text,
    closed_at timestamptz,
    closed_run_id text
);
comment on table ops.incidents is 'One row per incident: (DAG or source, object, rule), open until recovery.';
create unique index incidents_open on ops.incidents (scope, object, rule) where closed_at is null;

create table ops.alerts (
    alert_id bigint generated always as identity primary key,
    incident_id bigint references ops.incidents,
    kind text not null check (kind in ('opened', 'closed')),
    severity text not null,
    title text not null,
    body text not null,
    link text,
    run_id text,
    deliveries jsonb not null default '{}',
    raised_at timestamptz not null default clock_timestamp()
);
comment on table ops.alerts is 'One row per alert, whatever the other channels did with it.';

grant select on all tables in schema ops to loader, transformer, analyst;
grant insert, update, delete on all tables in schema ops to loader, transformer;
grant usage on all sequences in schema ops to loader, transformer;
revoke insert, update, delete on ops.schema_migrations from loader, transformer;
grant select, insert, update, delete on all tables in schema raw to loader;
grant usage on all sequences in schema raw to loader;
grant maintain on all tables in schema raw to loader;
grant select on all tables in schema raw to transformer, analyst;
"""


def upgrade() -> None:
    """Make roles where missing, then schemas and tables."""
    settings = context.config.attributes["settings"]
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor:
        for role in ROLES:
            login, password = settings.role_login(role)
            cursor.execute("select 1 from pg_roles where rolname = %s", (login,))
            verb = "alter" if cursor.fetchone() else "create"
            cursor.execute(
                sql.SQL(verb + " role {} login password %s").format(sql.Identifier(login)), (password,)
            )
            # The owner may do everything the roles may.
            cursor.execute(
                sql.SQL("grant {} to {}").format(
                    sql.Identifier(login), sql.Identifier(settings.warehouse_user)
                )
            )
            cursor.execute(
                sql.SQL("grant connect on database {} to {}").format(
                    sql.Identifier(settings.warehouse_db), sql.Identifier(login)
                )
            )
        cursor.execute("set local search_path to pg_catalog")
        cursor.execute(DDL)
        cursor.execute("reset search_path")
        cursor.execute(
            sql.SQL("alter role analyst in database {} set search_path to marts, warehouse, public").format(
                sql.Identifier(settings.warehouse_db)
            )
        )
        cursor.execute(
            sql.SQL("alter role analyst in database {} set default_transaction_read_only to on").format(
                sql.Identifier(settings.warehouse_db)
            )
        )


def downgrade() -> None:
    """There is no way back: the ledger is the memory of the warehouse."""
    raise NotImplementedError("Restore a backup instead.")
