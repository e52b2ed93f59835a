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

#: How values of a column are written, by what they are.
_SHOWN = {
    "text": sql.SQL("case when t.{0}::text ~ {1} then '''' || t.{0}::text else t.{0}::text end as {0}"),
    "time": sql.SQL("case when isfinite(t.{0}) then t.{0} end as {0}"),
    "other": sql.SQL("t.{0}"),
}
#: The columns of the table that analysts mean; of one with columns which they may not read, its view's.
_COLUMNS = """
select n.nspname, c.relname, a.attname::text,
    case
        when t.typcategory in ('S', 'E', 'Z') then 'text'
        when t.typname in ('date', 'timestamp', 'timestamptz') then 'time'
        else 'other'
    end,
    t.typcategory <> 'G' and t.typname not in ('json', 'xml')
from pg_class as named
left join pg_class as view
    on view.relname = named.relname and view.relnamespace = 'masked'::regnamespace
        and named.relnamespace::regnamespace::text in ('marts', 'warehouse')
join pg_class as c on c.oid = coalesce(view.oid, named.oid)
join pg_namespace as n on n.oid = c.relnamespace
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type as t on t.oid = a.atttypid
where named.oid = to_regclass(%(name)s) and c.relkind in ('r', 'p', 'v', 'm')
    and has_schema_privilege(n.oid, 'usage')
order by a.attnum
"""


def export(settings: Settings, table: str, output: BinaryIO) -> int:
    """Write a table as an analyst reads it: UTF-8 with a byte order mark, every value in quotation marks.

    A text that a spreadsheet would compute (it begins with `=`, `+`, `-`, `@`, a tab or a line break) gets an
    apostrophe before it. Numbers and dates stay as they are; the beginning and the end of time are empty. The
    comma has to be the separator where the file is opened: another one would cut texts in two.

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
            cursor.execute(_COLUMNS, {"name": table})
            columns = cursor.fetchall()
            if not columns:
                raise UnknownTableError(
                    f"Analysts have no table {table}. In psql, \\dt marts.* and \\dt warehouse.* list them."
                )
            (schema, name), *_ = {(schema, name) for schema, name, *_ in columns}
            statement = sql.SQL(
                "copy (select {values} from {table} as t order by {places}) "
                "to stdout (format csv, header, force_quote *)"
            ).format(
                values=sql.SQL(", ").join(
                    _SHOWN[kind].format(sql.Identifier(column), sql.Literal(_FORMULA))
                    for *_, column, kind, _ in columns
                ),
                table=sql.Identifier(schema, name),
                places=sql.SQL(", ").join(
                    sql.SQL("t.{}").format(sql.Identifier(column))
                    for *_, column, _, is_ordered in columns
                    if is_ordered
                ),
            )
            output.write(b"\xef\xbb\xbf")
            cursor.copy_expert(statement, output)
            return int(cursor.rowcount)
