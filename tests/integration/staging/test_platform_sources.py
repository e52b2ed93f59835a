"""What dbt is told of the platform's own tables is what the migrations make."""

from __future__ import annotations

from typing import Any

import psycopg2.extensions
import yaml

from ecommerce_dw.settings import PROJECT_DIR

FILE = PROJECT_DIR / "dbt" / "models" / "staging" / "_platform__sources.yml"
SOURCES: list[dict[str, Any]] = yaml.safe_load(FILE.read_text())["sources"]


def test_the_platforms_sources_name_every_column_with_its_type(
    owner: psycopg2.extensions.connection,
) -> None:
    for source in SOURCES:
        for table in source["tables"]:
            name = f"{source['schema']}.{table['name']}"
            with owner.cursor() as cursor:
                cursor.execute(
                    "select attname, format_type(atttypid, atttypmod) from pg_attribute "
                    "where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
                    (name,),
                )
                existing = [
                    (column, type_name.replace("timestamp with time zone", "timestamptz"))
                    for column, type_name in cursor
                ]
            assert [(column["name"], column["data_type"]) for column in table["columns"]] == existing, name
            assert all(column["description"] for column in table["columns"])


def test_every_table_of_the_platform_is_a_source(owner: psycopg2.extensions.connection) -> None:
    named = {f"{source['schema']}.{table['name']}" for source in SOURCES for table in source["tables"]}
    with owner.cursor() as cursor:
        cursor.execute(
            "select n.nspname || '.' || c.relname from pg_class as c "
            "join pg_namespace as n on n.oid = c.relnamespace "
            "where n.nspname in ('raw', 'ops') and c.relkind in ('r', 'v', 'p')"
        )
        existing = {name for (name,) in cursor}
    assert named == existing - {"ops.schema_migrations"}  # Alembic's own
