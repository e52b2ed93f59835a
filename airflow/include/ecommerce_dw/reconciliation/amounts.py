"""Amounts of text: of the records that were rejected, and of landed files read once more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

import psycopg2.extensions

from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading.landing import Location, UnreadableFileError
from ecommerce_dw.loading.stream import (
    FileReader,
    RefusedFileError,
    hash_file,
    read_header,
    split_fields,
)
from ecommerce_dw.reconciliation.measures import ROWS, Terms, amount, as_fields

#: (file id, measure, name of the difference, amount, records)
RejectedAmount = tuple[int, str, str, Decimal, int]


def rejected_amounts(
    cursor: psycopg2.extensions.cursor,
    contract: Contract,
    terms: Mapping[str, Terms],
    file_ids: Sequence[int],
) -> list[RejectedAmount]:
    """What the rejected records of these files are worth, by file, measure and kind.

    A record whose amount cannot be read is counted under `rejected_unreadable`.

    Args:
        terms: Measure → how the contract's columns spell it.
    """
    found: dict[tuple[int, str, str], list[Decimal]] = defaultdict(list)
    names = _field_names(cursor, contract, file_ids)
    delimiter, quote = contract.layout.delimiter.encode(), contract.layout.quote.encode()
    cursor.execute(
        f"select file_id, raw_bytes, {KIND} from raw.rejected_rows as r where r.file_id = any(%s)",
        (list(file_ids),),
    )
    for file_id, raw, kind in cursor:
        fields = as_fields(names.get(file_id, ()), split_fields(bytes(raw), delimiter, quote))
        for measure, spelling in terms.items():
            value = amount(contract, spelling, fields)
            key = (file_id, measure, kind if value is not None else "rejected_unreadable")
            found[key].append(value or Decimal(0))
    return [
        (file_id, measure, kind, sum(values, Decimal(0)), len(values))
        for (file_id, measure, kind), values in found.items()
    ]


#: SQL: which difference a rejected row `r` belongs to.
KIND = """
    case
        when r.resolved_by is not null then 'rejected_and_settled'
        when cardinality(r.reasons) = 1 and position('the key stands again on line' in r.reasons[1]) > 0
            then 'repeated_key'
        else 'rejected'
    end
"""


def _field_names(
    cursor: psycopg2.extensions.cursor, contract: Contract, file_ids: Sequence[int]
) -> dict[int, tuple[str | None, ...]]:
    """Raw column of each field of these files, where their header can be read."""
    cursor.execute(
        "select file_id, header from raw.load_ledger where file_id = any(%s) and header is not null "
        "and rows_rejected > 0",
        (list(file_ids),),
    )
    names = {}
    for file_id, header in cursor:
        try:
            names[file_id] = read_header(bytes(header), contract, is_whole_file=True).fields
        except RefusedFileError:  # judged by an earlier contract: its records count as unreadable
            continue
    return names


def landed_amounts(
    contract: Contract, location: Location, sha256: str, terms: Mapping[str, Terms]
) -> dict[str, Decimal] | None:
    """Records and amounts of a landed file, read from its bytes again, apart from the loader.

    Returns:
        Measure → sum over the records that can be read, `rows` → their number. None where the file is not
        there any more with these bytes, or is no file of the contract.
    """
    try:
        if hash_file(location) != sha256:
            return None
        reader = FileReader(location, is_gzip=str(location).endswith(".gz"))
        data = b"".join(reader.pieces())
        header = read_header(data, contract, is_whole_file=True)
    except (UnreadableFileError, RefusedFileError):
        return None
    delimiter, quote = contract.layout.delimiter.encode(), contract.layout.quote.encode()
    sums = {ROWS: Decimal(0)} | {measure: Decimal(0) for measure in terms}
    for record in _records(data[header.length :], quote):
        sums[ROWS] += 1
        if terms:
            fields = as_fields(header.fields, split_fields(record, delimiter, quote))
            for measure, spelling in terms.items():
                sums[measure] += amount(contract, spelling, fields) or 0
    return sums


def _records(data: bytes, quote: bytes) -> Iterator[bytes]:
    """The records of a file: lines, and lines that a quotation mark holds together. Blank ones are none."""
    record = b""
    for line in data.replace(b"\r\n", b"\n").split(b"\n"):
        record = record + b"\n" + line if record else line
        if record.count(quote) % 2:
            continue
        if record.strip():
            yield record
        record = b""
    if record.strip():
        yield record
