"""Fingerprints: each table's row count and order-independent checksum, to compare states of the warehouse.

Two warehouses with equal fingerprints hold the same rows, whatever the order of rows and columns in them,
the scale a number is stored with, or the settings of the session that asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import psycopg2.extensions
from psycopg2 import sql

from ecommerce_dw import db
from ecommerce_dw.settings import Settings, get_settings

#: Schemas the laws speak about.
SCHEMAS = ("warehouse", "marts_build", "marts")
#: Columns that tell when or by whom a row was written, not what it says; so are all that begin with `_`.
TECHNICAL_COLUMNS = frozenset({"dbt_loaded_at", "loaded_at", "dbt_updated_at"})
#: How values become text must not depend on who asks.
SESSION = """
    set local timezone to 'UTC';
    set local datestyle to 'ISO, YMD';
    set local intervalstyle to 'iso_8601';
    set local extra_float_digits to 1;
    set local bytea_output to 'hex';
    set local xmloption to 'content';
    set local search_path to pg_catalog
"""
_SEEDS = (0, 7_305_003)


class TableFingerprint(NamedTuple):
    """The state of one table.

    Attributes:
        schema: Its schema.
        table: Its name.
        rows: Number of rows.
        checksum: 32 hexadecimal digits, equal for equal sets of rows.
    """

    schema: str
    table: str
    rows: int
    checksum: str


def fingerprint(settings: Settings | None = None, schemas: Sequence[str] = SCHEMAS) -> list[TableFingerprint]:
    """Fingerprint every table of the schemas, all at one moment.

    Partitioned tables count once; views (operational models are views) do not count. Technical stamps stay
    out.

    Returns:
        One entry per table, by schema in the order asked for, then by name.

    Raises:
        ValueError: A schema does not exist.
    """
    connection = db.connect("transformer", settings=settings or get_settings())
    try:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection, connection.cursor() as cursor:
            return fingerprints_in(cursor, schemas)
    finally:
        connection.close()


def fingerprints_in(
    cursor: psycopg2.extensions.cursor, schemas: Sequence[str] | None = None
) -> list[TableFingerprint]:
    """Fingerprint every table of the schemas in the cursor's transaction, whose settings it changes.

    Args:
        cursor: Of a transaction that sees one moment (REPEATABLE READ).
        schemas: None takes all but the server's own.

    Raises:
        ValueError: A schema does not exist.
    """
    cursor.execute(SESSION)
    if schemas is None:
        cursor.execute(
            "select nspname from pg_namespace where nspname <> 'information_schema' and nspname !~ '^pg_' "
            'order by nspname collate "C"'
        )
        schemas = [name for (name,) in cursor.fetchall()]
    return [
        table_fingerprint(cursor, schema, table) for schema in schemas for table in _tables(cursor, schema)
    ]


def table_fingerprint(cursor: psycopg2.extensions.cursor, schema: str, table: str) -> TableFingerprint:
    """Fingerprint one table in the cursor's transaction, whose session must be set as in `SESSION`."""
    columns = _columns(cursor, schema, table)
    # A number's scale is how it is written, not what it is: 1.50 = 1.5.
    values = sql.SQL(", ").join(
        sql.SQL("trim_scale({})" if is_numeric else "{}").format(sql.Identifier(name))
        for name, is_numeric in columns
    )
    row_text = sql.SQL("row({})::text").format(values)
    sums = sql.SQL(", ").join(
        sql.SQL("coalesce(sum(hashtextextended({}, {})::numeric), 0)").format(row_text, sql.Literal(seed))
        for seed in _SEEDS
    )
    cursor.execute(sql.SQL("select count(*), {} from {}").format(sums, sql.Identifier(schema, table)))
    found = cursor.fetchone()
    assert found is not None
    count, *totals = found
    checksum = "".join(f"{int(total) % 2**64:016x}" for total in totals)
    return TableFingerprint(schema, table, int(count), checksum)


def _tables(cursor: psycopg2.extensions.cursor, schema: str) -> list[str]:
    cursor.execute("select 1 from pg_namespace where nspname = %s", (schema,))
    if cursor.fetchone() is None:
        raise ValueError(f"There is no schema {schema} in this warehouse. Run `ecommerce-dw migrate` first?")
    cursor.execute(
        """
        select c.relname
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where n.nspname = %s and c.relkind in ('r', 'p', 'm') and not c.relispartition
        order by c.relname collate "C"
        """,
        (schema,),
    )
    return [name for (name,) in cursor.fetchall()]


def _columns(cursor: psycopg2.extensions.cursor, schema: str, table: str) -> list[tuple[str, bool]]:
    cursor.execute(
        """
        select a.attname, a.atttypid = 'numeric'::regtype
        from pg_attribute as a
        join pg_class as c on c.oid = a.attrelid
        join pg_namespace as n on n.oid = c.relnamespace
        where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped
        order by a.attname collate "C"
        """,
        (schema, table),
    )
    return [
        (name, is_numeric)
        for name, is_numeric in cursor.fetchall()
        if not name.startswith("_") and name not in TECHNICAL_COLUMNS
    ]
