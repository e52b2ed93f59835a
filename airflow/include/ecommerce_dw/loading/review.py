"""Rejected rows for people: a list with every reason, and a byte-true export to correct and drop in."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass
from pathlib import PurePosixPath

from ecommerce_dw import db
from ecommerce_dw.loading.decisions import DecisionError, find_entry
from ecommerce_dw.loading.landing import landing_of
from ecommerce_dw.settings import Settings


@dataclass(frozen=True)
class RejectedRow:
    """A rejected row as `raw.rejected_rows` has it."""

    source: str
    entity: str
    business_date: dt.date
    path: str
    line_number: int
    reasons: list[str]
    raw_line: str
    resolved_by: str | None
    file_status: str


@dataclass(frozen=True)
class ExportedRejects:
    """The open rejected rows of one file.

    Attributes:
        content: The file's header and the records as they were, with the header's line end.
        rows: How many records.
    """

    source: str
    path: str
    content: bytes
    rows: int


def list_rejects(
    settings: Settings,
    *,
    source: str | None = None,
    entity: str | None = None,
    business_date: dt.date | None = None,
    path: str | None = None,
    with_settled: bool = False,
    limit: int = 50,
) -> tuple[list[RejectedRow], int]:
    """Rejected rows, newest days first, and how many there are in all."""
    with db.transaction("loader", settings=settings) as cursor:
        cursor.execute(
            """
            select r.source, r.entity, r.business_date, r.path, r.line_number, r.reasons, r.raw_line,
                r.resolved_by, l.status, count(*) over ()
            from raw.rejected_rows as r
            join raw.load_ledger as l using (file_id)
            where (%(source)s::text is null or r.source = %(source)s)
                and (%(entity)s::text is null or r.entity = %(entity)s)
                and (%(business_date)s::date is null or r.business_date = %(business_date)s)
                and (%(path)s::text is null or r.path = %(path)s)
                and (%(with_settled)s or r.resolved_by is null)
            order by r.business_date desc, r.source, r.path, l.version desc, r.line_number
            limit %(limit)s
            """,
            {
                "source": source,
                "entity": entity,
                "business_date": business_date,
                "path": path,
                "with_settled": with_settled,
                "limit": limit,
            },
        )
        rows = cursor.fetchall()
    return [RejectedRow(*row[:-1]) for row in rows], rows[0][-1] if rows else 0


def export_rejects(settings: Settings, path: str, *, source: str | None = None) -> ExportedRejects:
    """The open rejected rows of a file's newest version under that file's own header.

    Raises:
        DecisionError: There is no such file, or it has no open rejected rows.
    """
    connection = db.connect("loader", settings=settings)
    try:
        entry = find_entry(connection, settings, path, source)
        with connection, connection.cursor() as cursor:
            # A refused version hides the rows that its predecessor still has open: those come after its own.
            cursor.execute(
                """
                select l.header, r.raw_bytes
                from raw.load_ledger as l
                join raw.rejected_rows as r using (file_id)
                where l.file_id = (
                    select l.file_id
                    from raw.load_ledger as l
                    join raw.rejected_rows as r using (file_id)
                    where l.source = %s and l.path = %s and r.resolved_by is null
                    order by l.version desc
                    limit 1
                ) and r.resolved_by is null
                order by r.line_number
                """,
                (entry.source, entry.path),
            )
            rows = cursor.fetchall()
    finally:
        connection.close()
    if not rows:
        raise DecisionError(f"{entry.path} has no open rejected rows: there is nothing to export.")
    header = bytes(rows[0][0])
    line_end = b"\r\n" if header.endswith(b"\r\n") else b"\n"
    content = header.rstrip(b"\r\n") + line_end
    content += b"".join(bytes(raw) + line_end for _, raw in rows)
    return ExportedRejects(entry.source, entry.path, content, len(rows))


def suggest_name(settings: Settings, exported: ExportedRejects) -> str:
    """A free name for the corrected rows: the next `fix` part of the file's day."""
    path = PurePosixPath(exported.path)
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    stem = name.split(".", 1)[0]
    landing = landing_of(settings, exported.source)
    for number in itertools.count(1):
        candidate = path.with_name(f"{stem}.fix-{number:03d}.csv")
        if not landing.holds(candidate.as_posix()):
            return candidate.as_posix()
    raise AssertionError("unreachable")
