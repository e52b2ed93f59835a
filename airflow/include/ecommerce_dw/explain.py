"""What a person wants to know of a table before using it: grain, columns, lineage, how fresh it is."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql

from ecommerce_dw import db
from ecommerce_dw.dictionary.manifest import TableEntry, read_tables
from ecommerce_dw.settings import Settings


class UnknownTableError(ValueError):
    """No table of the project has this name; the message names the nearest."""


@dataclass(frozen=True)
class LastRun:
    """When dbt last built a table, and what came of it.

    Attributes:
        run_id, status: As in `ops.dbt_results`.
        at: When it was done.
        seconds: How long it took.
        rows: Rows it wrote; None where dbt does not say.
    """

    run_id: str
    status: str
    at: dt.datetime
    seconds: float
    rows: int | None


@dataclass(frozen=True)
class Explanation:
    """A table, explained.

    Attributes:
        table: What the project says of it.
        is_there: Whether the database has it.
        row_count: Its rows; None where it is not there.
        as_of: Greatest loaded business date per source, of the whole warehouse.
        unfed: Source → why the table is empty for it.
        last_run: Its last build; None where there was none (seeds, tables of the platform).
        published_at: When its published rows last changed; None outside schema marts.
        example: A query to begin with.
    """

    table: TableEntry
    is_there: bool
    row_count: int | None
    as_of: Mapping[str, dt.date]
    unfed: Mapping[str, str]
    last_run: LastRun | None
    published_at: dt.datetime | None
    example: str


def find_table(name: str, tables: tuple[TableEntry, ...]) -> TableEntry:
    """A table by its name, with or without schema.

    Raises:
        UnknownTableError: There is none, or more than one.
    """
    found = [table for table in tables if name in (table.name, table.full_name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(table.full_name for table in found)
        raise UnknownTableError(f"More than one table is called {name}: {names}. Name its schema, too.")
    known = [table.full_name for table in tables] + [table.name for table in tables]
    near = difflib.get_close_matches(name, known, n=3)
    raise UnknownTableError(
        f"There is no table {name}."
        + (f" Did you mean {' or '.join(near)}?" if near else " docs/data-dictionary.md lists them all.")
    )


def explain(name: str, manifest: Mapping[str, Any], settings: Settings) -> Explanation:
    """Explain one table.

    Args:
        name: Of the table, with or without schema.
        manifest: dbt's `manifest.json`.
        settings: Whose warehouse is asked.

    Raises:
        UnknownTableError: There is no such table, or more than one.
        psycopg2.OperationalError: The warehouse does not answer.
    """
    table = find_table(name, read_tables(manifest))
    connection = db.connect("transformer", settings=settings)
    try:
        connection.set_session(readonly=True)
        with connection, connection.cursor() as cursor:

            def rows(query: str, *values: object) -> list[tuple[Any, ...]]:
                cursor.execute(query, values)
                return cursor.fetchall()

            def exists(relation: str) -> bool:
                return bool(rows("select to_regclass(%s) is not null", relation)[0][0])

            is_there = exists(table.full_name)
            row_count = None
            if is_there:
                cursor.execute(
                    sql.SQL("select count(*) from {}").format(sql.Identifier(table.schema, table.name))
                )
                row_count = int(cursor.fetchall()[0][0])
            as_of = "intermediate.int_source_as_of"
            last = rows(
                "select run_id, status, finished_at, execution_seconds, rows_affected from ops.dbt_results "
                "where node_id like %s and resource_type in ('model', 'seed') "
                "order by finished_at desc limit 1",
                f"%.{table.name}",
            )
            published = (
                rows(
                    "select max(published_at) from ops.publications where table_name = %s "
                    "and rows_inserted + rows_updated + rows_deleted > 0",
                    table.name,
                )
                if table.schema == "marts"
                else [(None,)]
            )
            unfed = (
                rows("select source_system, reason from ops.unfed_tables where table_name = %s", table.name)
                if exists("ops.unfed_tables")
                else []
            )
            return Explanation(
                table=table,
                is_there=is_there,
                row_count=row_count,
                as_of=dict(rows(f"select source_system, as_of_date from {as_of}")) if exists(as_of) else {},
                unfed=dict(unfed),
                last_run=LastRun(*last[0]) if last else None,
                published_at=published[0][0],
                example=_example(table),
            )
    finally:
        connection.close()


def _example(table: TableEntry) -> str:
    """The columns of the key and the first others, a few rows."""
    names = [column.name for column in table.columns]
    order = "source_system" if "source_system" in names else "1"
    columns = ", ".join(names[:8]) or "*"
    return f"select {columns} from {table.full_name} order by {order} limit 10"
