"""Alembic's entry point. `ecommerce_dw.migrations.migrate` hands over the open transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

connection = context.config.attributes["connection"]
connection.execute(text("create schema if not exists ops"))
context.configure(
    connection=connection,
    version_table="schema_migrations",
    version_table_schema="ops",
    transactional_ddl=True,
)
context.run_migrations()
