"""Rows that did not load: every reason, the record as it was, and when it is settled."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import psycopg2.extensions

from ecommerce_dw.contracts.model import Column, Contract
from ecommerce_dw.loading.copy import copy_in
from ecommerce_dw.loading.ddl import qualified, quote_name, quote_text, rules
from ecommerce_dw.loading.stream import Header, split_fields

#: Rejected rows that wait in memory before they are sent (bytes).
_SENT_BYTES = 4 << 20
#: Parts of this kind settle the rejected rows of contracts without a primary key.
FIX_PREFIX = "fix"


@dataclass(frozen=True)
class RejectedRecord:
    """A record to be kept as rejected.

    Attributes:
        file_id, line: Where it stands.
        raw: Its bytes without the line end.
        reasons: What is known already; every rule and cast is added by the server.
        header: The header of its file, which says what its fields are.
    """

    file_id: int
    line: int
    raw: bytes
    reasons: tuple[str, ...]
    header: Header


def readable(raw: bytes) -> str:
    """A record for people: what is not UTF-8, and NUL, is shown as \\xNN."""
    return raw.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def store_rejects(
    cursor: psycopg2.extensions.cursor, contract: Contract, rejected: Iterable[RejectedRecord]
) -> None:
    """Write rejected records to `raw.rejected_rows` with every reason.

    The fields go to the server as texts, which then tries every cast and every rule of the contract, so
    that its judgement is the one COPY has. The ledger rows of their files must be there.
    """
    table = f"pg_temp.{quote_name('rejects_' + contract.table)}"
    columns = ", ".join(f"{quote_name(column.name)} text" for column in contract.columns)
    cursor.execute(
        f"create temporary table if not exists {quote_name('rejects_' + contract.table)} ("
        "_file_id bigint, _line_number bigint, _raw_line text, _raw_bytes bytea, _reasons text[], "
        f"{columns}) on commit delete rows"
    )
    cursor.execute(f"truncate {table}")
    groups: dict[tuple[str, ...], list[bytes]] = {}
    sizes: dict[tuple[str, ...], int] = {}
    for record in rejected:
        names, line = _line(contract, record)
        lines = groups.setdefault(names, [])
        lines.append(line)
        sizes[names] = sizes.get(names, 0) + len(line)
        if sizes[names] >= _SENT_BYTES:
            _send(cursor, contract, table, names, lines)
            lines.clear()
            sizes[names] = 0
    for names, lines in groups.items():
        if lines:
            _send(cursor, contract, table, names, lines)
    cursor.execute(_insert_sql(contract, table))


def _line(contract: Contract, record: RejectedRecord) -> tuple[tuple[str, ...], bytes]:
    """The record for the temporary table: the columns it fills, and a line of CSV."""
    delimiter, quote = contract.layout.delimiter.encode(), contract.layout.quote.encode()
    raw, text = record.raw, b""
    if record.reasons:
        try:
            raw.decode()
            is_readable = b"\0" not in raw
        except UnicodeDecodeError:
            is_readable = False
        if not is_readable:
            text = raw = readable(raw).encode()
    names: tuple[str, ...] = ()
    fields = b""
    if not record.reasons and not record.header.has_extra_columns:
        names, fields = record.header.columns, delimiter + raw
    else:
        values = split_fields(raw, delimiter, quote)
        if len(values) == len(record.header.fields) and raw.count(quote) % 2 == 0:
            names = record.header.columns
            fields = b"".join(
                delimiter + _quoted(value, quote)
                for name, value in zip(record.header.fields, values, strict=True)
                if name is not None
            )
    reasons = b""
    if record.reasons:
        listed = ",".join('"' + r.replace("\\", "\\\\").replace('"', '\\"') + '"' for r in record.reasons)
        reasons = _quoted(("{" + listed + "}").encode(), quote)
    head = (
        b"%d" % record.file_id,
        b"%d" % record.line,
        _quoted(text, quote) if text else b"",
        _quoted(b"\\x" + record.raw.hex().encode(), quote),
        reasons,
    )
    return names, delimiter.join(head) + fields + b"\n"


def _quoted(value: bytes, quote: bytes) -> bytes:
    return quote + value.replace(quote, quote + quote) + quote if value else b""


def _send(
    cursor: psycopg2.extensions.cursor,
    contract: Contract,
    table: str,
    names: Sequence[str],
    lines: Sequence[bytes],
) -> None:
    columns = ", ".join(
        ["_file_id", "_line_number", "_raw_line", "_raw_bytes", "_reasons", *map(quote_name, names)]
    )
    copy_in(cursor, copy_sql(contract, table, columns), iter([b"".join(lines)]), in_thread=False)


def copy_sql(contract: Contract, table: str, columns: str, *, options: str = "") -> str:
    """A COPY statement for lines in the contract's layout. An empty field, quoted or not, is null."""
    layout = contract.layout
    return (
        f"copy {table} ({columns}) from stdin (format csv, encoding 'UTF8', "
        f"delimiter {quote_text(layout.delimiter)}, quote {quote_text(layout.quote)}, "
        f"escape {quote_text(layout.quote)}, force_null *{options})"
    )


def _insert_sql(contract: Contract, table: str) -> str:
    by_name = {column.name: column for column in contract.columns}
    reasons: list[str] = []
    for column in contract.columns:
        if column.type != "text":
            message = f"(pg_input_error_info(r.{quote_name(column.name)}, '{column.type}')).message"
            if column.pii != "none":  # the server quotes the value, and reasons go into logs and mails
                message = f"""regexp_replace({message}, ': ".*"', '')"""
            reasons.append(f"{quote_text(column.name + ': ')} || left({message}, 300)")
    for rule in rules(contract):
        column = by_name[rule.column]
        value = f"r.{quote_name(column.name)}" if rule.is_about_presence else _typed(column)
        reasons.append(f"case when {rule.sql(value)} then {quote_text(rule.reason)} end")
    keys = ", ".join(f"{quote_text(name)}, ({_typed(by_name[name])})::text" for name in kept_keys(contract))
    judged = f"array_remove(array[{', '.join(reasons)}]::text[], null)"
    # Without fields (a wrong number of them) there is nothing to judge.
    has_fields = f"num_nonnulls({', '.join('r.' + quote_name(c.name) for c in contract.columns)}) > 0"
    return f"""
        insert into raw.rejected_rows (
            file_id, source, entity, business_date, path, line_number, raw_line, raw_bytes, keys, reasons
        )
        select
            l.file_id, l.source, l.entity, l.business_date, l.path, r._line_number,
            coalesce(r._raw_line, convert_from(r._raw_bytes, 'UTF8')), r._raw_bytes,
            jsonb_strip_nulls(jsonb_build_object({keys})), told.reasons
        from {table} as r
        join raw.load_ledger as l on l.file_id = r._file_id
        cross join lateral (
            select coalesce(r._reasons, '{{}}') || case
                when {has_fields} or r._reasons is null then {judged} else '{{}}'
            end as found
        ) as judged
        cross join lateral (
            select case when cardinality(judged.found) > 0 then judged.found
                else array['the server did not take it'] end as reasons
        ) as told
        order by r._file_id, r._line_number
    """


def _typed(column: Column) -> str:
    name = f"r.{quote_name(column.name)}"
    if column.type == "text":
        return name
    return f"(case when pg_input_is_valid({name}, '{column.type}') then {name}::{column.type} end)"


def kept_keys(contract: Contract) -> tuple[str, ...]:
    """Columns kept of rows that are rejected or removed: the touch keys, and the primary key for settling."""
    return tuple(dict.fromkeys((*contract.touch_keys, *contract.primary_key)))


def settle(
    cursor: psycopg2.extensions.cursor, contract: Contract, days: Iterable[dt.date]
) -> Iterator[dict[str, str]]:
    """Work out anew which rejected rows of these days are settled by an additional part of their day.

    It is computed from what is loaded, never from what arrived last, so the order of arrival does not
    matter, and a part that is replaced or withdrawn takes its settlements with it.

    With a primary key a row is settled by the first part (by path) that loaded its key. Without one, a file's
    rows are settled by the first part named `fix…` that comes after it.

    Yields:
        The kept keys of each row that was settled or opened again: their entities must be recomputed.
    """
    days = list(days)
    if not days or not _has_parts_or_settled(cursor, contract, days):
        return
    if contract.primary_key:
        matches = " and ".join(
            f"t.{quote_name(name)}::text = r.keys ->> {quote_text(name)}" for name in contract.primary_key
        )
        settled_by = f"""
            select p.path from parts as p
            where p.business_date = r.business_date and p.path <> r.path
                and exists (select from {qualified(contract)} as t where t._file_id = p.file_id and {matches})
            order by p.path collate "C" limit 1
        """
    else:
        settled_by = f"""
            select p.path from parts as p
            where p.business_date = r.business_date and p.part like '{FIX_PREFIX}%%'
                and (r.part is null or p.path collate "C" > r.path collate "C") and p.path <> r.path
            order by p.path collate "C" limit 1
        """
    cursor.execute(
        f"""
        with live as (
            select distinct on (path) file_id, path, part, business_date, status
            from raw.load_ledger
            where source = %(source)s and entity = %(entity)s and business_date = any(%(days)s)
                and status in ('loaded', 'withdrawn')
            order by path, version desc
        ),
        parts as (
            select * from live where part is not null and status = 'loaded'
        ),
        open_or_settled as (
            select r.rejected_id, r.file_id, r.path, r.business_date, r.keys, r.resolved_by, live.part
            from live join raw.rejected_rows as r using (file_id)
            where live.status = 'loaded'
        ),
        judged as (
            select r.rejected_id, r.resolved_by, ({settled_by}) as settled_by
            from open_or_settled as r
        )
        update raw.rejected_rows as r
        set resolved_by = judged.settled_by
        from judged
        where r.rejected_id = judged.rejected_id and judged.settled_by is distinct from judged.resolved_by
        returning r.keys
        """,
        {"source": contract.source, "entity": contract.entity, "days": days},
    )
    for (keys,) in cursor.fetchall():
        yield keys


def _has_parts_or_settled(
    cursor: psycopg2.extensions.cursor, contract: Contract, days: Sequence[dt.date]
) -> bool:
    cursor.execute(
        """
        select exists (
            select from raw.load_ledger
            where source = %s and entity = %s and business_date = any(%s) and part is not null
        )
        """,
        (contract.source, contract.entity, list(days)),
    )
    row = cursor.fetchone()
    return bool(row and row[0])
