"""Tables for spreadsheets: CSV in which no text is taken for a formula."""

from __future__ import annotations

import contextlib
from typing import BinaryIO

from psycopg2 import sql

from ecommerce_dw import db
from ecommerce_dw.explain import UnknownTableError
from ecommerce_dw.settings import Settings

#: What a text may not begin with: spreadsheets take it for a formula, or for white space before one.
#: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = "^[=+@\t\r\n\uff0b\uff0d\uff1d\uff20-]"


def export(settings: Settings, table: str, output: BinaryIO) -> int:
    """Write a table as an analyst reads it: UTF-8 with a byte order mark, every value in quotation marks.

    A text that a spreadsheet would compute (it begins with `=`, `+`, `-`, `@`, a tab or a line break) gets an
    apostrophe before it. Numbers and dates stay as they are.

    Args:
        settings: Whose warehouse.
        table: Name with or without schema; without one the analyst's search path decides.
        output: Where to write to; the rows in the order of their columns, of one moment.

    Returns:
        Rows written.

    Raises:
        UnknownTableError: Analysts have no table or view of that name.
        psycopg2.OperationalError: The warehouse does not answer.
    """
    with contextlib.closing(db.connect("analyst", settings=settings)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection, connection.cursor() as cursor:
            cursor.execute(
                """
                select n.nspname, c.relname, array_agg(a.attname::text order by a.attnum),
                    array_agg(t.typcategory = 'S' order by a.attnum)
                from pg_class as c
                join pg_namespace as n on n.oid = c.relnamespace
                join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                join pg_type as t on t.oid = a.atttypid
                where c.relkind in ('r', 'p', 'v', 'm')
                    -- what has columns that analysts may not read has a view of that name without them
                    and c.oid = coalesce(
                        to_regclass(regexp_replace(%(name)s, '^(marts|warehouse)\\.', 'masked.')),
                        to_regclass(%(name)s)
                    )
                    and has_schema_privilege(n.oid, 'usage')
                group by 1, 2
                """,
                {"name": table},
            )
            found = cursor.fetchone()
            if found is None:
                raise UnknownTableError(
                    f"Analysts have no table {table}. In psql, \\dt marts.* and \\dt warehouse.* list them."
                )
            schema, name, columns, are_texts = found
            values = [
                sql.SQL("case when {0} ~ {1} then '''' || {0} else {0} end as {0}").format(
                    sql.Identifier(column), sql.Literal(_FORMULA)
                )
                if is_text
                else sql.Identifier(column)
                for column, is_text in zip(columns, are_texts, strict=True)
            ]
            statement = sql.SQL(
                "copy (select {values} from {table} order by {places}) "
                "to stdout (format csv, header, force_quote *)"
            ).format(
                values=sql.SQL(", ").join(values),
                table=sql.Identifier(schema, name),
                places=sql.SQL(", ").join(map(sql.Identifier, columns)),
            )
            output.write(b"\xef\xbb\xbf")
            cursor.copy_expert(statement, output)
            return int(cursor.rowcount)
