"""Nobody reads what is not theirs: analysts see no personal data, and only a publication changes the marts.

Code of the release before publishes as transformer, which no longer owns schema marts. Who goes back to it
says, as the owner: `grant publisher to transformer with inherit true`.
"""

from __future__ import annotations

from alembic import context, op
from psycopg2 import sql

from ecommerce_dw import roles

revision = "0011"
down_revision = "0010"

DDL = """
-- Who owns a schema may drop what is in it: the loader makes raw tables, and the ledger is not its own.
do $$ begin execute format('alter schema raw owner to %I', current_user); end $$;
grant usage, create on schema raw to loader;

-- raw: of files and of what did not load, analysts learn what happened, not what it said
revoke select on all tables in schema raw from analyst;
alter default privileges for role loader in schema raw revoke select on tables from analyst;
grant select (
    file_id, source, entity, business_date, path, part, version, is_current, contract_hash, sha256, bytes,
    modified_at, etag, rows_read, rows_loaded, rows_rejected, status, is_threshold_waived, load_id, run_id,
    started_at, finished_at, message
) on raw.load_ledger to analyst;
grant select (
    rejected_id, file_id, source, entity, business_date, path, line_number, reasons, resolved_by, rejected_at
) on raw.rejected_rows to analyst;

-- an alert's text may quote rows
revoke select on ops.alerts from analyst;
grant select (alert_id, incident_id, kind, severity, title, link, run_id, deliveries, raised_at)
    on ops.alerts to analyst;

-- personal data, and everything else there is to read
grant usage on schema raw, ops, history to pii_reader;
alter default privileges for role loader in schema raw grant select on tables to pii_reader;
alter default privileges for role transformer in schema ops, history grant select on tables to pii_reader;
grant select on all tables in schema
    raw, ops, history, staging, intermediate, warehouse, warehouse_parts, marts_build, marts
    to pii_reader;

-- what the transformer builds was readable by default
revoke select on all tables in schema staging, intermediate, warehouse_parts from analyst;
alter default privileges for role transformer in schema history revoke select on tables from analyst;

-- the publisher: what it publishes, and how far
grant usage on schema ops to publisher;
grant select on all tables in schema marts_build to publisher;
grant select, insert, update, delete on ops.model_marks to publisher;
grant select, delete on ops.touched to publisher;
grant insert on ops.publications to publisher;

-- what the loader has no part in
revoke insert, update, delete on
    ops.model_marks, ops.touched, ops.dbt_results, ops.expectation_results, ops.publications,
    ops.source_freshness, ops.incidents, ops.alerts
    from loader;
"""

#: Where each role looks for a name without a schema, and whether it may only read.
SESSIONS = {
    "analyst": {"search_path": ["masked", "marts", "warehouse", "public"]},
    "api": {
        "search_path": ["masked", "marts"],
        "default_transaction_read_only": ["on"],
        "statement_timeout": ["30s"],
    },
    "pii_reader": {
        "search_path": ["marts", "warehouse", "public"],
        "default_transaction_read_only": ["on"],
    },
}


def upgrade() -> None:
    """Make the roles where missing, and give each its rights."""
    settings = context.config.attributes["settings"]
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    database = sql.Identifier(settings.warehouse_db)
    with driver.cursor() as cursor:
        roles.make_roles(cursor, settings)
        roles.make_schemas(cursor)
        cursor.execute(DDL)
        # A publication keeps the touched keys in a temporary table.
        cursor.execute(sql.SQL("grant temporary on database {} to publisher").format(database))
        for role, held in SESSIONS.items():
            name = sql.Identifier(role)
            cursor.execute(sql.SQL("grant connect on database {} to {}").format(database, name))
            for setting, values in held.items():
                cursor.execute(
                    sql.SQL("alter role {} in database {} set {} to {}").format(
                        name, database, sql.Identifier(setting), sql.SQL(", ").join(map(sql.Literal, values))
                    )
                )


def downgrade() -> None:
    """There is no way back: the ledger is the memory of the warehouse."""
    raise NotImplementedError("Restore a backup instead.")
