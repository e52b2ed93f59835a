"""A role for dashboards and metrics: it reads what happened and how much, no table with a shop's rows."""

from __future__ import annotations

from alembic import context, op
from psycopg2 import sql

revision = "0010"
down_revision = "0009"

DDL = """
grant usage on schema ops, raw to monitor;
grant select on ops.runs, ops.run_steps, ops.publications, ops.source_freshness, ops.incidents to monitor;
-- An alert's text may quote rows.
grant select (alert_id, incident_id, kind, severity, deliveries, raised_at) on ops.alerts to monitor;
grant select (
    source, entity, business_date, path, version, is_current, rows_read, rows_loaded, rows_rejected, status,
    load_id, run_id, started_at, finished_at
) on raw.load_ledger to monitor;
grant select (source, resolved_by) on raw.rejected_rows to monitor;

-- The views that dbt makes in ops, those that are there and those to come.
alter default privileges for role transformer in schema ops grant select on tables to monitor;
do $$
declare
    made regclass;
begin
    for made in
        select oid from pg_class
        where relnamespace = 'ops'::regnamespace and relowner = 'transformer'::regrole
            and relkind in ('r', 'v')
    loop
        execute format('grant select on %s to monitor', made);
    end loop;
end
$$;
"""


def upgrade() -> None:
    """Make the role where missing, and let it read."""
    settings = context.config.attributes["settings"]
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    login, password = settings.role_login("monitor")
    with driver.cursor() as cursor:
        cursor.execute("select 1 from pg_roles where rolname = %s", (login,))
        if not cursor.fetchone():
            cursor.execute(sql.SQL("create role {} nologin").format(sql.Identifier(login)))
        if password:
            cursor.execute(
                sql.SQL("alter role {} login password %s").format(sql.Identifier(login)), (password,)
            )
        database = sql.Identifier(settings.warehouse_db)
        cursor.execute(sql.SQL("grant connect on database {} to monitor").format(database))
        # A dashboard that is left open must neither write nor keep the server busy.
        for setting in ("default_transaction_read_only to on", "statement_timeout to '30s'"):
            cursor.execute(
                sql.SQL("alter role monitor in database {} set {}").format(database, sql.SQL(setting))
            )
        cursor.execute(DDL)


def downgrade() -> None:
    """There is no way back: the ledger is the memory of the warehouse."""
    raise NotImplementedError("Restore a backup instead.")
