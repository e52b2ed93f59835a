"""The business date of files whose name has none: the greatest date among their records."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading.discover import LandedFile, LandingZone, in_order
from ecommerce_dw.loading.landing import UnreadableFileError
from ecommerce_dw.loading.ledger import Known, has_form_of
from ecommerce_dw.loading.stream import (
    MAX_RECORD_BYTES,
    FileReader,
    RefusedFileError,
    read_header,
    split_fields,
)

_DATE = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True)
class GreatestDate:
    """The greatest date in a file.

    Attributes:
        date: It.
        line: The first line that has it; the header is line 1.
    """

    date: dt.date
    line: int


def date_files(
    zone: LandingZone, known: Mapping[str, Known], *, max_expansion: int | None = None
) -> LandingZone:
    """The landing zone with a business date for each file that has one in its name or its content.

    A file that the ledger knows in its present form keeps the date it has there and is not
    opened. One that cannot be read, or has no date in it, stays without: the loader says what is wrong.

    Args:
        known: What the ledger says, by path.
        max_expansion: How many times its own size a compressed file may hold; None: any number.
    """

    def dated(file: LandedFile) -> LandedFile:
        if file.business_date is not None:
            return file
        entry = known.get(file.path)
        if entry is not None and has_form_of(entry, file):
            return replace(file, business_date=entry.business_date)
        try:
            found = greatest_date(file, max_expansion=max_expansion)
        except (UnreadableFileError, RefusedFileError):
            return file
        return replace(file, business_date=found.date if found else None)

    return replace(zone, files=in_order(dated(file) for file in zone.files))


def greatest_date(file: LandedFile, *, max_expansion: int | None = None) -> GreatestDate | None:
    """The greatest date in the contract's date column, or None where a file has none.

    It is that of every record with as many fields as the header, also of one that is rejected for another
    reason: the file is about that day all the same.

    Args:
        max_expansion: How many times its own size a compressed file may hold; None: any number.

    Raises:
        UnreadableFileError: The file cannot be read.
        RefusedFileError: It holds more than that.
    """
    contract = file.contract
    reader = FileReader(file.location, is_gzip=file.is_gzip, max_expansion=max_expansion)
    try:
        start, is_whole, pieces = reader.start()
        try:
            header = read_header(start, contract, is_whole_file=is_whole)
        except RefusedFileError:
            return None
        if contract.date_column not in header.fields:
            return None
        position = header.fields.index(contract.date_column)
        greatest: GreatestDate | None = None
        text = b""
        for number, line in _lines(start[header.length :], pieces, header.first_line):
            value = _field(line, contract, position, len(header.fields))
            if value > text and _DATE.fullmatch(value) and (date := _as_date(value)) is not None:
                text, greatest = value, GreatestDate(date, number)
        return greatest
    finally:
        reader.close()


def _lines(rest: bytes, pieces: Iterator[bytes], number: int) -> Iterator[tuple[int, bytes]]:
    """The lines of what is left of a file with their numbers, a piece at a time in memory.

    Those of pieces that are blank are left out, and so is a line that is too long.
    """
    is_too_long = False
    for piece in itertools.chain(pieces, [b"\n"]):
        if is_too_long:
            end = piece.find(b"\n") + 1
            if not end:
                continue
            is_too_long, piece, number = False, piece[end:], number + 1
        data = rest + piece
        *lines, rest = (b"",) if data.isspace() else data.split(b"\n")
        if not rest and not lines:
            number += data.count(b"\n")
            continue
        for line in lines:
            yield number, line
            number += 1
        if len(rest) > MAX_RECORD_BYTES:
            rest, is_too_long = b"", True


def _field(line: bytes, contract: Contract, position: int, count: int) -> bytes:
    """One field of a line; empty where the line has another number of them."""
    delimiter, quote = contract.layout.delimiter.encode(), contract.layout.quote.encode()
    line = line.removesuffix(b"\r")
    fields = split_fields(line, delimiter, quote) if quote in line else line.split(delimiter)
    return fields[position].strip() if len(fields) == count else b""


def _as_date(value: bytes) -> dt.date | None:
    try:
        return dt.date.fromisoformat(value.decode())
    except ValueError:  # 2026-02-31
        return None
