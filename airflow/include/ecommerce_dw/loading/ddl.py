"""Raw tables from contracts: their DDL, the additive change to a new version, rules and indexes.

The business rules of a contract become one `CASE` in the virtual generated column `_reject_reason`: it costs
nothing while rows come in and is evaluated once, when the loader asks which rows break a rule.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import psycopg2.extensions
from psycopg2 import sql
from psycopg2.extras import Json

from ecommerce_dw import db
from ecommerce_dw.contracts import evolution
from ecommerce_dw.contracts.model import Column, Contract
from ecommerce_dw.loading import views

logger = logging.getLogger(__name__)

FILE_ID = "_file_id"
LINE_NUMBER = "_line_number"
REJECT_REASON = "_reject_reason"

#: The server's long names of types, as contracts have them.
_SHORT_TYPES = {"timestamp with time zone": "timestamptz"}


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


#: Characters of a text that is indexed, where its contract says nothing. The server's own bound is 2,704
#: bytes for all columns of an index.
_MAX_KEY_CHARACTERS = 200
#: Digits before the decimal point that a number may have.
MAX_DIGITS = 14


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
        # More is no amount: the warehouse keeps them as numeric(18,4).
        too_large = f"{{value}} >= {10**MAX_DIGITS}"
        if column.minimum is None or column.minimum < 0:
            too_large += f" or {{value}} <= -{10**MAX_DIGITS}"
        yield Rule(
            name,
            f"{name}: has more than {MAX_DIGITS} digits before the decimal point",
            f"(({too_large}) and scale({{value}}) is not null)",
        )
    if column.type in ("date", "timestamptz"):
        yield Rule(name, f"{name}: is not a finite time", "not isfinite({value})")
        # PostgreSQL reads others too, which neither people nor programs mean.
        yield Rule(
            name,
            f"{name}: is not in the years 1 to 9999",
            "(({value} < '0001-01-01' or {value} >= '10000-01-01') and isfinite({value}))",
        )
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
    elif column.type == "text" and any(name in index.columns for index in indexes(contract)):
        yield Rule(
            name,
            f"{name}: is longer than {_MAX_KEY_CHARACTERS} characters, too long for a key",
            f"char_length({{value}}) > {_MAX_KEY_CHARACTERS}",
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
        f"    {_reject_column(contract)}\n)" + (" on commit drop" if temporary else "")
    )


def _reject_column(contract: Contract) -> str:
    return f"{REJECT_REASON} text generated always as ({reject_expression(contract)}) virtual"


def _comments(contract: Contract) -> dict[str, str]:
    # The digest in the comment is how a change of rules is noticed.
    digest = hashlib.sha256(reject_expression(contract).encode()).hexdigest()[:16]
    return {column.name: column.description for column in contract.columns} | {
        FILE_ID: "The file this row came with: raw.load_ledger.file_id.",
        LINE_NUMBER: "First line of the record in its file; the header is line 1.",
        REJECT_REASON: f"First rule that the row breaks; null in loaded rows. Rules {digest}.",
    }


def ensure_tables(
    connection: psycopg2.extensions.connection,
    contracts: Iterable[Contract],
    *,
    owner: Callable[[], psycopg2.extensions.connection] | None = None,
) -> None:
    """Make the raw tables of these contracts, or bring them to the contracts' present version. Commits.

    What a version adds or loosens is applied in one transaction under a lock, and recorded in
    `ops.contract_versions`. Rows that are there stay as they are: a new column is null in them. Views over a
    table of which a type grows are made again. When nothing changed, nothing is locked.

    Args:
        connection: Of the role loader.
        contracts: All of them are brought to their version, or none is.
        owner: Opens a connection of the warehouse's owner, who may make the transformer's views again. Used
            when a type grows, and only then.

    Raises:
        ContractChangeError: A table cannot follow its contract, or the version is not right for the change.
    """
    contracts = list(contracts)
    with connection, connection.cursor() as cursor:
        due = _due(cursor, contracts)
    if not due:
        return
    worker = owner() if owner and any(change.widened for change in due) else connection
    try:
        with worker, worker.cursor() as cursor:
            # A build reads these tables: who changed one meanwhile could wait for a load that waits for the
            # build, while the build waits behind the change.
            db.advisory_locks(cursor, [db.TRANSFORM_LOCK], "transform lock", is_shared=True)
            db.advisory_locks(cursor, [db.DDL_LOCK], "lock of the raw tables")
            cursor.execute("set local role loader")
            due = _due(cursor, contracts)
            _refuse(problem for change in due for problem in change.problems(cursor))
            for change in due:
                change.apply(cursor)
            # A stricter rule is tried on the rows themselves; refusing it takes everything back.
            _refuse(problem for change in due for problem in change.broken_rules(cursor))
    finally:
        if worker is not connection:
            worker.close()


def _due(cursor: psycopg2.extensions.cursor, contracts: list[Contract]) -> list[_TableChange]:
    """The tables that are not at the present version of their contract."""
    tables = [contract.table for contract in contracts]
    cursor.execute(
        """
        select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum),
            obj_description(c.oid, 'pg_class')
        from pg_class as c
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'raw'::regnamespace and c.relname = any(%s)
        """,
        (tables,),
    )
    columns: dict[str, dict[str, tuple[str, str]]] = {}
    comments: dict[str, str] = {}
    for table, column, type_name, comment, description in cursor:
        columns.setdefault(table, {})[column] = (_SHORT_TYPES.get(type_name, type_name), comment or "")
        comments[table] = description or ""
    cursor.execute(
        """
        select distinct on (source, entity) source || '__' || entity, content
        from ops.contract_versions
        where source || '__' || entity = any(%s)
        order by source, entity, string_to_array(version, '.')::integer[] desc
        """,
        (tables,),
    )
    recorded = dict(cursor.fetchall())
    changes = [
        _TableChange(c, columns.get(c.table), comments.get(c.table, ""), recorded.get(c.table))
        for c in contracts
    ]
    return [change for change in changes if change.is_due]


def _refuse(problems: Iterable[str]) -> None:
    if told := list(problems):
        raise ContractChangeError("\n".join([*told, "Nothing was changed."]))


class _TableChange:
    """What brings one raw table to the present version of its contract.

    Args:
        contract: Where to.
        columns: Column → type and comment, as the table is; None when there is none.
        comment: The table's own.
        recorded: The version it is at; None when none was recorded.
    """

    def __init__(
        self,
        contract: Contract,
        columns: Mapping[str, tuple[str, str]] | None,
        comment: str,
        recorded: evolution.Content | None,
    ) -> None:
        self._contract = contract
        self._columns = columns or {}
        self._is_new = columns is None
        self._comment = comment
        self._recorded = recorded
        self._wanted = evolution.content(contract)
        before = recorded if not self._is_new else self._wanted
        self._changes = evolution.compare(before or self._as_found(), self._wanted)
        self._statements = self._all_statements()

    @property
    def is_due(self) -> bool:
        """Whether anything is to be done or recorded."""
        return bool(self._recorded != self._wanted or self._changes or self._statements)

    @property
    def widened(self) -> list[Column]:
        """Columns that take a type with more values."""
        return [
            column
            for column in self._contract.columns
            if (self._columns.get(column.name, ("",))[0], column.type) in evolution.WIDER_TYPES
        ]

    def problems(self, cursor: psycopg2.extensions.cursor) -> Iterator[str]:
        """Why the table cannot follow, as far as it can be told without its rows."""
        if self._recorded is not None and (
            problem := evolution.version_problem(self._recorded, self._wanted, self._changes)
        ):
            yield self._told(problem)
        for change in self._changes:
            if change.effect == "impossible" or (
                change.effect == "needs an empty table" and self._has_rows(cursor)
            ):
                yield self._told(f"{change.what}. A table with rows cannot follow that. {change.remedy}")

    def apply(self, cursor: psycopg2.extensions.cursor) -> None:
        """Change the table and record the version."""
        above = views.taken_down(cursor, qualified(self._contract)) if self.widened else nullcontext()
        try:
            with above:
                for statement in self._statements:
                    cursor.execute(statement)
        except views.UnfitViewError as error:
            what = "; ".join(change.what for change in self._changes)
            _refuse([self._told(f"{what}. {error} Drop it, or change it first.")])
        if self._recorded == self._wanted:
            return
        changes = [change.what for change in self._changes]
        if self._recorded is None:
            changes.insert(
                0, "the table was made" if self._is_new else "the table was there before versions were kept"
            )
        contract = self._contract
        cursor.execute(
            "insert into ops.contract_versions (source, entity, version, contract_hash, content, changes) "
            "values (%s, %s, %s, %s, %s, %s)",
            (contract.source, contract.entity, contract.version, contract.hash, Json(self._wanted), changes),
        )
        logger.info("raw.%s is at version %s: %s", contract.table, contract.version, "; ".join(changes))

    def broken_rules(self, cursor: psycopg2.extensions.cursor) -> Iterator[str]:
        """The rules of the new version that rows of the changed table break."""
        stricter = [change for change in self._changes if change.effect == "check rows"]
        if not (stricter or self._has_unknown_rules):
            return
        cursor.execute(
            f"select {REJECT_REASON}, count(*) from {qualified(self._contract)} "
            f"where {REJECT_REASON} is not null group by 1 order by 2 desc, 1"
        )
        told = [f"{reason} ({count:,} rows)" for reason, count in cursor]
        for key in keys_within_file(self._contract):
            names = ", ".join(map(quote_name, key))
            cursor.execute(
                f"select count(*) from (select from {qualified(self._contract)} "
                f"where ({names}) is not null group by {FILE_ID}, {names} having count(*) > 1) as twice"
            )
            row = cursor.fetchone()
            if row and row[0]:
                told.append(f"{', '.join(key)}: {row[0]:,} values stand more than once in a file")
        if told:
            what = "; ".join(change.what for change in stricter) or "other rules"
            yield self._told(
                f"{what}. Rows that are there break it: {'; '.join(told)}. {evolution.BROKEN_BY_ROWS}"
            )

    # what it is made of -----------------------------------------------------------------------------------

    def _told(self, problem: str) -> str:
        contract = self._contract
        at = f", which is at {self._recorded['version']}" if self._recorded else ""
        return (
            f"Contract {contract.source}.{contract.entity} {contract.version} and raw.{contract.table}{at}: "
            f"{problem}"
        )

    def _has_rows(self, cursor: psycopg2.extensions.cursor) -> bool:
        cursor.execute(f"select exists (select from {qualified(self._contract)})")
        row = cursor.fetchone()
        return bool(row and row[0])

    def _as_found(self) -> evolution.Content:
        """What the table tells of a version that was not recorded: its columns and their types."""
        known: dict[str, Any] = self._wanted["columns"]
        found = {
            name: {"header": name} | known.get(name, {}) | {"type": type_name}
            for name, (type_name, _) in self._columns.items()
            if name not in (FILE_ID, LINE_NUMBER, REJECT_REASON)
        }
        return {**self._wanted, "columns": found}

    @property
    def _has_unknown_rules(self) -> bool:
        """Whether the table has other rules than the contract, and nobody knows which."""
        comment = self._columns.get(REJECT_REASON, ("", ""))[1]
        return (
            bool(comment) and self._recorded is None and comment != _comments(self._contract)[REJECT_REASON]
        )

    def _all_statements(self) -> list[str]:
        contract, table = self._contract, qualified(self._contract)
        comments, is_commented = (
            _comments(contract),
            {name: text for name, (_, text) in self._columns.items()},
        )
        statements: list[str] = []
        if self._is_new:
            statements.append(create_table_sql(contract))
        else:
            statements += [
                f"alter table {table} add column {quote_name(column.name)} {column.type}"
                for column in contract.columns
                if column.name not in self._columns
            ]
            if REJECT_REASON in self._columns:
                if self.widened:
                    # A type does not change under a generated column.
                    statements.append(f"alter table {table} drop column {REJECT_REASON}")
                    is_commented[REJECT_REASON] = ""
                elif is_commented[REJECT_REASON] != comments[REJECT_REASON]:
                    statements.append(
                        f"alter table {table} alter column {REJECT_REASON} set expression as "
                        f"({reject_expression(contract)})"
                    )
            else:
                del comments[REJECT_REASON]
            statements += [
                f"alter table {table} alter column {quote_name(column.name)} type {column.type}"
                for column in self.widened
            ]
            if REJECT_REASON in self._columns and self.widened:
                statements.append(f"alter table {table} add column {_reject_column(contract)}")
        statements += [
            f"comment on column {table}.{quote_name(name)} is {quote_text(text)}"
            for name, text in comments.items()
            if is_commented.get(name, "") != text
        ]
        if self._comment != contract.description:
            statements.append(f"comment on table {table} is {quote_text(contract.description)}")
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
            db.advisory_locks(cursor, [db.DDL_LOCK], "lock of the raw tables")
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
