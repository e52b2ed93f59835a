"""Raw tables from contracts: their DDL, the additive change to a new version, rules and indexes.

The business rules of a contract become one `CASE` in the virtual generated column `_reject_reason`: it costs
nothing while rows come in and is evaluated once, when the loader asks which rows break a rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psycopg2.extensions
from psycopg2 import sql

from ecommerce_dw.contracts.model import Column, Contract
from ecommerce_dw.db import DDL_LOCK

FILE_ID = "_file_id"
LINE_NUMBER = "_line_number"
REJECT_REASON = "_reject_reason"


class ContractChangeError(RuntimeError):
    """A contract changed in a way that a table with rows cannot follow; the message names the change."""


@dataclass(frozen=True)
class Rule:
    """A business rule of one column.

    Attributes:
        column: The raw column it is about.
        reason: What a person is told, starting with the column's name.
        condition: SQL that is true where the rule is broken; `{value}` stands for the typed value.
        is_about_presence: The rule asks for a value at all, so it looks at the text, not at the cast.
    """

    column: str
    reason: str
    condition: str
    is_about_presence: bool = False

    def sql(self, value: str) -> str:
        """The condition for a given SQL expression of the value."""
        return self.condition.replace("{value}", value)


def quote_name(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def qualified(contract: Contract) -> str:
    """The contract's raw table with its schema."""
    return f"raw.{quote_name(contract.table)}"


def rules(contract: Contract) -> tuple[Rule, ...]:
    """Every rule of a contract that one row can break, in the order in which they are told."""
    found: list[Rule] = []
    for column in contract.columns:
        found.extend(_column_rules(column, contract))
    return tuple(found)


def _column_rules(column: Column, contract: Contract) -> Iterable[Rule]:
    name = column.name
    if column.is_required or name in contract.primary_key:
        yield Rule(name, f"{name}: a value is required", "{value} is null", is_about_presence=True)
    if column.type == "numeric":
        # NaN and the infinities are numerics to PostgreSQL and have no scale.
        yield Rule(
            name, f"{name}: is not a finite number", "({value} is not null and scale({value}) is null)"
        )
    if column.type in ("date", "timestamptz"):
        yield Rule(name, f"{name}: is not a finite time", "not isfinite({value})")
    if column.minimum is not None:
        yield Rule(name, f"{name}: is less than {column.minimum}", f"{{value}} < {column.minimum}")
    if column.maximum is not None:
        yield Rule(name, f"{name}: is greater than {column.maximum}", f"{{value}} > {column.maximum}")
    if column.scale is not None and column.type == "numeric":
        # Trailing zeros are no decimals: 1.5000 has one.
        yield Rule(
            name,
            f"{name}: has more than {column.scale} decimals",
            f"(scale({{value}}) > {column.scale} and min_scale({{value}}) > {column.scale})",
        )
    if column.max_length is not None:
        yield Rule(
            name,
            f"{name}: is longer than {column.max_length} characters",
            f"char_length({_as_text(column)}) > {column.max_length}",
        )
    if column.allowed_values:
        listed = ", ".join(column.allowed_values)
        values = ", ".join(quote_text(value) for value in column.allowed_values)
        yield Rule(
            name, f"{name}: is none of {listed}", f"{_as_text(column)} <> all (array[{values}]::text[])"
        )
    if column.pattern is not None:
        yield Rule(
            name,
            f"{name}: does not match {column.pattern}",
            f"{_as_text(column)} !~ {quote_text('^(?:' + column.pattern + ')$')}",
        )
    if contract.currency_column == name:
        yield Rule(
            name,
            f"{name}: is not {contract.currency}, the source's currency",
            f"{_as_text(column)} <> {quote_text(contract.currency)}",
        )


def _as_text(column: Column) -> str:
    return "{value}" if column.type == "text" else "{value}::text"


def reject_expression(contract: Contract) -> str:
    """The `CASE` that names the first broken rule of a row, or is null."""
    whens = "\n        ".join(
        f"when {rule.sql(quote_name(rule.column))} then {quote_text(rule.reason)}" for rule in rules(contract)
    )
    return f"case\n        {whens}\n    end" if whens else "null::text"


def create_table_sql(contract: Contract, *, table: str | None = None, temporary: bool = False) -> str:
    """`create table` of a contract's raw table.

    Args:
        table: Another name for it, as SQL.
        temporary: Whether to make it a temporary table that ends with the transaction.
    """
    columns = ",\n    ".join(f"{quote_name(column.name)} {column.type}" for column in contract.columns)
    return (
        f"create {'temporary ' if temporary else ''}table {table or qualified(contract)} (\n    {columns},\n"
        f"    {FILE_ID} bigint not null,\n    {LINE_NUMBER} bigint not null,\n"
        f"    {REJECT_REASON} text generated always as ({reject_expression(contract)}) virtual\n)"
        + (" on commit drop" if temporary else "")
    )


def _comments(contract: Contract) -> dict[str, str]:
    # The digest in the comment is how a change of rules is noticed.
    digest = hashlib.sha256(reject_expression(contract).encode()).hexdigest()[:16]
    return {column.name: column.description for column in contract.columns} | {
        FILE_ID: "The file this row came with: raw.load_ledger.file_id.",
        LINE_NUMBER: "First line of the record in its file; the header is line 1.",
        REJECT_REASON: f"First rule that the row breaks; null in loaded rows. Rules {digest}.",
    }


def ensure_tables(connection: psycopg2.extensions.connection, contracts: Iterable[Contract]) -> None:
    """Make the raw tables of these contracts, or bring them to the contracts' present version. Commits.

    A table follows a contract by adding columns (null in older rows) and by taking over its rules and
    descriptions. When nothing changed, nothing is locked.

    Raises:
        ContractChangeError: A column changed its type or is gone.
    """
    contracts = list(contracts)
    with connection, connection.cursor() as cursor:
        if not _changes(cursor, contracts):
            return
    with connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (DDL_LOCK,))
        for statement in _changes(cursor, contracts):
            cursor.execute(statement)


def _changes(cursor: psycopg2.extensions.cursor, contracts: list[Contract]) -> list[str]:
    cursor.execute(
        """
        select c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
            col_description(c.oid, a.attnum), obj_description(c.oid, 'pg_class')
        from pg_class as c
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'raw'::regnamespace and c.relname = any(%s)
        """,
        ([contract.table for contract in contracts],),
    )
    existing: dict[str, dict[str, tuple[str, str | None]]] = {}
    descriptions: dict[str, str | None] = {}
    for table, column, type_name, comment, description in cursor:
        existing.setdefault(table, {})[column] = (type_name, comment)
        descriptions[table] = description
    statements: list[str] = []
    for contract in contracts:
        columns = existing.get(contract.table)
        statements += _table_changes(contract, columns, descriptions.get(contract.table))
    return statements


def _table_changes(
    contract: Contract, existing: dict[str, tuple[str, str | None]] | None, description: str | None
) -> list[str]:
    table = qualified(contract)
    statements: list[str] = []
    if existing is None:
        statements.append(create_table_sql(contract))
        existing = {}
    else:
        statements += _added_columns(contract, existing)
    comments = _comments(contract)
    rules_comment = existing.get(REJECT_REASON, ("", comments[REJECT_REASON]))[1]
    if rules_comment != comments[REJECT_REASON]:
        statements.append(
            f"alter table {table} alter column {REJECT_REASON} set expression as "
            f"({reject_expression(contract)})"
        )
    for name, comment in comments.items():
        if (existing.get(name, ("", None))[1] or "") != comment:
            text = quote_text(comment) if comment else "null"
            statements.append(f"comment on column {table}.{quote_name(name)} is {text}")
    if description != contract.description:
        text = quote_text(contract.description) if contract.description else "null"
        if contract.description or description:
            statements.append(f"comment on table {table} is {text}")
    return statements


def _added_columns(contract: Contract, existing: dict[str, tuple[str, str | None]]) -> list[str]:
    types = {"timestamptz": "timestamp with time zone"}
    statements = []
    for column in contract.columns:
        wanted = types.get(column.type, column.type)
        if column.name not in existing:
            statements.append(
                f"alter table {qualified(contract)} add column {quote_name(column.name)} {column.type}"
            )
        elif existing[column.name][0] != wanted:
            raise ContractChangeError(
                f"Contract {contract.source}.{contract.entity} {contract.version}: column {column.name} is "
                f"{wanted} in the contract and {existing[column.name][0]} in raw.{contract.table}. A table "
                "with rows cannot follow that. Nothing was changed. Give the new column another name, or "
                "drop the table and its ledger rows and load the landing zone again."
            )
    named = {column.name for column in contract.columns} | {FILE_ID, LINE_NUMBER, REJECT_REASON}
    gone = sorted(set(existing) - named)
    if gone:
        raise ContractChangeError(
            f"Contract {contract.source}.{contract.entity} {contract.version}: raw.{contract.table} has "
            f"{', '.join(gone)}, which the contract no longer names. Nothing was changed. Keep the column in "
            "the contract as one that is not required, or drop it from the table by hand."
        )
    return statements


@dataclass(frozen=True)
class Index:
    """An index of a raw table.

    Attributes:
        name: Its name, at most 63 bytes.
        columns: What it is on.
        is_unique: A key may appear once in a file; the file's id is part of the index.
    """

    name: str
    columns: tuple[str, ...]
    is_unique: bool

    def sql(self, contract: Contract) -> str:
        """Its DDL."""
        columns = ", ".join(quote_name(column) for column in self.columns)
        kind = "unique index" if self.is_unique else "index"
        return f"create {kind} if not exists {quote_name(self.name)} on {qualified(contract)} ({columns})"


def keys_within_file(contract: Contract) -> tuple[tuple[str, ...], ...]:
    """Sets of columns whose values may appear once in a file: the primary key, then unique columns."""
    found = [contract.primary_key] if contract.primary_key else []
    found += [(column.name,) for column in contract.columns if column.is_unique]
    return tuple(dict.fromkeys(found))


def indexes(contract: Contract) -> tuple[Index, ...]:
    """The indexes of a contract's raw table."""
    found = [Index(_index_name(contract, (FILE_ID,), "idx"), (FILE_ID,), is_unique=False)]
    leading = set()
    for key in keys_within_file(contract):
        leading.add(key[0])
        found.append(Index(_index_name(contract, key, "key"), (*key, FILE_ID), is_unique=True))
    for touch_key in contract.touch_keys:
        if touch_key not in leading:
            found.append(Index(_index_name(contract, (touch_key,), "idx"), (touch_key,), is_unique=False))
    return tuple(found)


def _index_name(contract: Contract, columns: tuple[str, ...], suffix: str) -> str:
    name = f"{contract.table}__{'_'.join(columns).lstrip('_')}__{suffix}"
    if len(name.encode()) <= 63:
        return name
    return f"{name[:44]}__{hashlib.sha256(name.encode()).hexdigest()[:8]}__{suffix}"


def has_indexes(cursor: psycopg2.extensions.cursor, contract: Contract) -> bool:
    """Whether all indexes of a contract's table are there."""
    return not _missing_indexes(cursor, [contract])[contract.table]


def _missing_indexes(
    cursor: psycopg2.extensions.cursor, contracts: Iterable[Contract]
) -> dict[str, list[Index]]:
    contracts = list(contracts)
    cursor.execute(
        "select tablename, indexname from pg_indexes where schemaname = 'raw' and tablename = any(%s)",
        ([contract.table for contract in contracts],),
    )
    existing = {(table, name) for table, name in cursor}
    return {
        contract.table: [index for index in indexes(contract) if (contract.table, index.name) not in existing]
        for contract in contracts
    }


def tables_without_indexes(
    connection: psycopg2.extensions.connection, contracts: Iterable[Contract]
) -> list[Contract]:
    """Contracts whose tables lack an index."""
    contracts = list(contracts)
    with connection, connection.cursor() as cursor:
        missing = _missing_indexes(cursor, contracts)
    return [contract for contract in contracts if missing[contract.table]]


def ensure_indexes(connection: psycopg2.extensions.connection, contracts: Iterable[Contract]) -> None:
    """Make the missing indexes of tables that have rows; keys that a contract no longer has lose theirs.

    Commits after each table. While the first files come into an empty table it has no indexes: building
    them once afterwards costs a third of keeping them current. A load that was killed in between finds
    the table with rows and without indexes, and makes them first.
    """
    for contract in tables_without_indexes(connection, contracts):
        with connection, connection.cursor() as cursor:
            cursor.execute("select pg_advisory_xact_lock(%s)", (DDL_LOCK,))
            cursor.execute(f"select exists (select from {qualified(contract)})")
            row = cursor.fetchone()
            if not row or not row[0]:
                continue
            make_indexes(cursor, contract)


def make_indexes(cursor: psycopg2.extensions.cursor, contract: Contract) -> None:
    """Make a table's missing indexes in the present transaction and drop outdated keys.

    Raises:
        psycopg2.errors.UniqueViolation: A key appears twice in a file.
    """
    wanted = {index.name for index in indexes(contract)}
    cursor.execute(
        "select indexname from pg_indexes where schemaname = 'raw' and tablename = %s "
        "and right(indexname, 5) = '__key'",
        (contract.table,),
    )
    for (name,) in cursor.fetchall():
        if name not in wanted:
            cursor.execute(f"drop index raw.{quote_name(name)}")
    for index in indexes(contract):
        cursor.execute(index.sql(contract))


def analyze_grown(connection: psycopg2.extensions.connection, loaded: Mapping[str, int]) -> tuple[str, ...]:
    """Tell the planner about tables that grew by a tenth or more, and about the ledger with them. Commits.

    The models read the tables right after a load, before autovacuum looks at them: without statistics a
    first run's plans are nested loops.

    Args:
        connection: Of the role that owns the raw tables.
        loaded: Rows loaded now, by raw table.

    Returns:
        The tables that were analyzed.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select relname, greatest(reltuples, 0)::bigint
            from pg_class
            where relnamespace = 'raw'::regnamespace and relname = any(%s)
            """,
            (list(loaded),),
        )
        grown = tuple(name for name, rows in cursor.fetchall() if loaded[name] > max(1000, rows // 10))
        for table in (*grown, "load_ledger", "rejected_rows", "removed_keys") if grown else ():
            cursor.execute(sql.SQL("analyze raw.{}").format(sql.Identifier(table)))
    return grown
