"""The catalogue of bad files: what a producer may deliver, made by code, and what becomes of each.

The same defects are made for every entity of every source contract, from the contract alone, and packed with
gzip in turn; what is about the landing zone rather than about an entity is made once.
"""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ecommerce_dw.contracts.model import Column, Contract

DAY = "2026-01-05"

#: `loaded`: whole, or without the rows that `rejected` names. `refused`: nothing of it; the ledger says why.
#: `unreadable`: nothing of it, tried again by the next run. `unmatched`: no contract's pattern names it.
Outcome = Literal["loaded", "refused", "unreadable", "unmatched"]


@dataclass(frozen=True)
class BadFile:
    """One file of the catalogue.

    Attributes:
        name: Unique, and what is wrong with it.
        source, entity: Whose file it is.
        path: Below the source's landing zone.
        place: Puts it at a path.
        outcome: What becomes of it.
        records: Records in it, where the file loads.
        rejected: Lines of rows that do not load, each with what its reasons say.
        said: What the message about the file says besides its name.
    """

    name: str
    source: str
    entity: str
    path: str
    place: Callable[[Path], object]
    outcome: Outcome
    records: int = 0
    rejected: Mapping[int, str] = field(default_factory=dict)
    said: str = ""


def arabic(text: str) -> str:
    """The same with Arabic-Indic digits, which are digits to Python and not to PostgreSQL."""
    return text.translate({ord("0") + n: 0x660 + n for n in range(10)})


# rows that a contract takes ---------------------------------------------------------------------------------

_FITTING = {
    "email": "person{n}@example.com",
    "ip_address": "192.0.2.7",
    "country": "GB",
    "invoice_no": "{m}",
    "customer_id": "{n}",
}


def good_value(contract: Contract, column: Column, number: int) -> str:
    """A value that the contract takes; another one for each number where the column is part of a key."""
    if column.allowed_values:
        return column.allowed_values[0]
    if column.name == contract.currency_column:
        return contract.currency
    if column.pattern:
        return _FITTING[column.name].format(n=number, m=100_000 + number)
    return {
        "text": f"{chr(65 + contract.columns.index(column))}-{number}",
        "integer": "3",
        "bigint": "4",
        "numeric": "5.25",
        "boolean": "true",
        "date": DAY,
        "timestamptz": f"{DAY} 12:00:00",
    }[column.type]


def header(contract: Contract) -> str:
    """The header as the contract has it."""
    return contract.layout.delimiter.join(column.header for column in contract.columns)


def row(contract: Contract, number: int, **values: str) -> str:
    """A row, with some values as given, quoted where they need it."""
    delimiter, quote = contract.layout.delimiter, contract.layout.quote

    def written(value: str) -> str:
        if any(mark in value for mark in (delimiter, quote, "\n", "\r")):
            return quote + value.replace(quote, 2 * quote) + quote
        return value

    return delimiter.join(
        written(values.get(column.name, good_value(contract, column, number))) for column in contract.columns
    )


def text_column(contract: Contract) -> Column:
    """The freest text column of an entity."""
    texts = [
        c
        for c in contract.columns
        if c.type == "text" and not c.pattern and not c.allowed_values and c.name != contract.currency_column
    ]
    keys = {*contract.primary_key, *contract.touch_keys}
    return max(texts, key=lambda column: (column.name not in keys, column.max_length or 0))


def file_of(contract: Contract, *rows: str, end: str = "\n") -> bytes:
    """Header and rows."""
    return "".join(line + end for line in (header(contract), *rows)).encode()


# bad values -------------------------------------------------------------------------------------------------

#: Type → values that no row may have, each with a part of its reason.
BAD_VALUES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "numeric": (
        ("1e999", "digits"),
        ("NaN", "finite"),
        ("Infinity", "finite"),
        ("-inf", "finite"),
        (arabic("12"), "numeric"),
        ("1,234.5", "numeric"),
        ("1.234.5", "numeric"),
        ("0x1F", "decimal"),
        ("1_000", "decimal"),
        ("0.123456", "decimals"),
    ),
    "integer": (
        ("1.5", "integer"),
        ("1e3", "integer"),
        ("99999999999", "out of range"),
        ("-99999999999", "out of range"),
        (arabic("3"), "integer"),
        ("0b11", "decimal"),
        ("1_0", "decimal"),
        ("NaN", "integer"),
        ("three", "integer"),
    ),
    "bigint": (
        ("1.5", "bigint"),
        ("99999999999999999999", "out of range"),
        ("0o17", "decimal"),
        ("-", "bigint"),
    ),
    "boolean": (("maybe", "boolean"), ("2", "boolean"), ("nein", "boolean")),
    "date": (
        ("2026-02-30", "out of range"),
        ("2026-13-01", "out of range"),
        ("0000-01-01", "out of range"),
        ("10000-01-01", "years 1 to 9999"),
        ("2026-01-01 BC", "years 1 to 9999"),
        ("infinity", "finite"),
        ("today", "word"),
        ("31.12.2026", "date"),
        (arabic(DAY), "date"),
    ),
    "timestamptz": (
        ("2026-02-30 00:00:00", "out of range"),
        ("2026-01-05 25:00:00", "out of range"),
        ("2026-01-05 12:00:00 Mars/Olympus", "time zone"),
        ("10000-01-01 00:00:00", "years 1 to 9999"),
        ("0044-03-15 12:00:00 BC", "years 1 to 9999"),
        ("now", "word"),
        ("-infinity", "finite"),
        ("999999999999", "out of range"),
        ("2026-01-05T12:00:00+99:00", "out of range"),
    ),
}


def _bad_values_of(column: Column, contract: Contract) -> Iterator[tuple[str, str]]:
    yield from BAD_VALUES.get(column.type, ())
    if column.minimum is not None and column.type != "numeric":
        yield str(column.minimum - 1), "is less than"
    if column.allowed_values:
        yield "no-such-value", "is none of"
        yield column.allowed_values[0].upper() + "?", "is none of"
    if column.pattern and column.name != contract.currency_column:
        yield "!", "does not match"
    if column.name == contract.currency_column:
        yield "XTS", "the source's currency"
        yield "usd", "does not match"
    if column.max_length:
        yield "x" * (column.max_length + 1), "is longer than"
    if column.is_required:
        yield "", "a value is required"


def _value_files(contract: Contract) -> Iterator[tuple[str, bytes, int, dict[int, str]]]:
    """A file for each type of column that the entity has, with every bad value for it between good rows."""
    seen: set[str] = set()
    for column in contract.columns:
        kind = "allowed" if column.allowed_values else "pattern" if column.pattern else column.type
        bad = list(_bad_values_of(column, contract))
        if kind in seen or not bad:
            continue
        seen.add(kind)
        rows = [row(contract, 1)]
        rejected = {}
        for number, (value, said) in enumerate(bad[:10], 2):
            rows.append(row(contract, number, **{column.name: value}))
            rejected[number + 1] = f"{column.name}: *{said}"
        rows.append(row(contract, 99))
        yield f"values-{column.name}", file_of(contract, *rows), len(rows), rejected


# defects of every entity ------------------------------------------------------------------------------------


def _entity_files(contract: Contract) -> Iterator[BadFile]:
    good = [row(contract, number) for number in range(1, 4)]
    text = text_column(contract)
    required = next(c for c in contract.columns if c.is_required)
    delimiter = contract.layout.delimiter
    names = header(contract).split(delimiter)
    whole = file_of(contract, *good)

    def bad(
        name: str,
        data: bytes,
        outcome: Outcome,
        records: int = 0,
        rejected: Mapping[int, str] | None = None,
        *,
        said: str = "",
        is_gzip: bool = False,
    ) -> BadFile:
        path = contract.layout.pattern.replace("{date}", DAY).replace("{name}", DAY)
        path = path.replace("{part}", f".{name}") + (".gz" if is_gzip else "")
        return BadFile(
            f"{contract.source}-{contract.entity}-{name}", contract.source, contract.entity, path,
            lambda target: target.write_bytes(data), outcome, records, rejected or {}, said,
        )  # fmt: skip

    def with_text(value: bytes) -> bytes:
        """Three rows, the second with these bytes in its text."""
        lines = [header(contract), good[0], row(contract, 2, **{text.name: "@HERE@"}), good[2], ""]
        return "\n".join(lines).encode().replace(b"@HERE@", value)

    def renamed(names_: list[str]) -> bytes:
        return "\n".join([delimiter.join(names_), *good, ""]).encode()

    packed = gzip.compress(whole, mtime=0)
    # packed files
    yield bad("cut-off", packed[:-12], "unreadable", said="cut off", is_gzip=True)
    yield bad("not-packed", whole, "unreadable", said="no sound gzip file", is_gzip=True)
    yield bad("empty-gz", b"", "unreadable", said="cut off", is_gzip=True)
    yield bad("packed-under-csv", packed, "refused", said="gzip data under a name without .gz")
    yield bad(
        "two-members",
        gzip.compress(whole[:20], mtime=0) + gzip.compress(whole[20:], mtime=0) + bytes(7),
        "loaded",
        3,
        is_gzip=True,
    )
    # nothing in it
    yield bad("empty", b"", "refused", said="empty")
    yield bad("only-newlines", b"\n" * 500 + b"\r\n \n", "refused", said="empty")
    yield bad("header-only", file_of(contract), "loaded", 0)
    # another text than UTF-8
    yield bad("utf-16", whole.decode().encode("utf-16"), "refused", said="UTF-16")
    yield bad("utf-32", b"\xff\xfe\0\0" + whole.decode().encode("utf-32-le"), "refused", said="UTF-32")
    yield bad("bom-and-crlf", b"\xef\xbb\xbf\r\n" + whole.replace(b"\n", b"\r\n\r\n"), "loaded", 3)
    in_text = f"in '{text.header}'"
    yield bad("windows-1252", with_text(b"Caf\xe9"), "loaded", 3, {3: f"byte 0xe9 *{in_text}"})
    yield bad("half-a-character", with_text("é".encode()[:1]), "loaded", 3, {3: f"not UTF-8*{in_text}"})
    yield bad("surrogates", with_text(b"\xed\xa0\x80"), "loaded", 3, {3: f"not UTF-8*{in_text}"})
    yield bad("nul-byte", with_text(b"a\0b"), "loaded", 3, {3: f"NUL byte, {in_text}"})
    # lines and fields
    yield bad("lone-cr", with_text(b"a\rb"), "loaded", 3, {3: f"carriage return*{in_text}"})
    yield bad("mac-lines", whole.replace(b"\n", b"\r"), "refused", said="carriage return alone")
    yield bad("unclosed-quote", with_text(b'"never closed'), "loaded", 3, {3: "opened and not closed"})
    yield bad(
        "too-many-fields", with_text(b"a" + delimiter.encode() + b"b"), "loaded", 3, {3: "fields where"}
    )
    few = "\n".join([header(contract), good[0], delimiter.join(good[1].split(delimiter)[:-1]), good[2]])
    yield bad("too-few-fields", few.encode(), "loaded", 3, {3: "fields where the header has"})
    yield bad(
        "every-row-fails",
        file_of(contract, *(row(contract, n, **{required.name: ""}) for n in range(12))),
        "refused",
        said="12 of 12 rows fail",
    )
    # the header
    yield bad("semicolons", whole.replace(delimiter.encode(), b";"), "refused", said="semicolons")
    yield bad("doubled-name", renamed([*names[:-1], names[0]]), "refused", said=f"{names[0]} more than once")
    number = names.index(required.header)
    other = [*names[:number], f"{required.header}_new", *names[number + 1 :]]
    yield bad("renamed", renamed(other), "refused", said=f"Probably renamed: {required.header} to")
    without = [*names[:number], "zq", *names[number + 1 :]]
    yield bad("missing", renamed(without), "refused", said=f"lacks the required {required.header}.")
    yield bad("blank-names", renamed(["" for _ in names]), "refused", said="have no name")
    extra = b"".join(line + b",x\n" for line in whole.splitlines()).replace(b",x", b",mood", 1)
    yield bad("extra", extra, "loaded", 3)
    yield bad("no-header", "\n".join(good).encode(), "refused", said="Perhaps the header is missing")
    # values
    for name, data, records, rejected in _value_files(contract):
        yield bad(name, gzip.compress(data, mtime=0), "loaded", records, rejected, is_gzip=True)
    # odd, and a text like any other
    odd = (
        "=1+cmd|' /C calc'!A0",
        "'; drop table raw.load_ledger; --",
        "\u202eevil\u200f",
        "\x1b[2J",
        "%s%n{0}",
    )
    rows = [row(contract, n, **{text.name: value}) for n, value in enumerate(odd)]
    yield bad("odd-texts", file_of(contract, *rows), "loaded", len(rows))


# what is made once ------------------------------------------------------------------------------------------


def _fifo(target: Path) -> None:
    os.mkfifo(target)


def _socket(target: Path) -> None:
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"/proc/self/fd/{folder}/_s")  # the address of a socket is at most 107 bytes
        (target.parent / "_s").rename(target)
    finally:
        os.close(folder)


def _link_out(target: Path) -> None:
    outside = target.parents[4] / "outside.csv"
    outside.write_text("order_id\nsecret\n")
    target.symlink_to(outside)


def _loop(target: Path) -> None:
    target.symlink_to(target)


def _single_files(orders: Contract, sales: Contract) -> Iterator[BadFile]:
    """Files of the orders (and of the sales, which need no date in their name) that stand for all."""
    good = [row(orders, number) for number in range(1, 4)]
    whole = file_of(orders, *good)
    ends = "shipping_method"

    def order(
        name: str,
        data: bytes | Callable[[Path], object],
        outcome: Outcome,
        records: int = 0,
        rejected: Mapping[int, str] | None = None,
        *,
        said: str = "",
        path: str | None = None,
    ) -> BadFile:
        place = data if callable(data) else lambda target: target.write_bytes(data)
        path = path or f"orders/dt={DAY}/orders.once-{name}.csv"
        return BadFile(
            f"once-{name}", "ecommerce", "orders", path, place, outcome, records, rejected or {}, said
        )

    # what is no file
    yield order("folder", lambda target: target.mkdir(), "unreadable", said="a folder, not a file")
    yield order("named-pipe", _fifo, "unreadable", said="a named pipe, not a file")
    yield order("socket", _socket, "unreadable", said="a socket, not a file")
    yield order("link-out", _link_out, "unreadable", said="leads out of the landing zone")
    yield order("link-to-device", lambda target: target.symlink_to("/dev/zero"), "unreadable", said="link")
    yield order(
        "link-to-nowhere", lambda target: target.symlink_to("gone"), "unreadable", said="No such file"
    )
    yield order("link-to-itself", _loop, "unreadable", said="symbolic links")
    yield order(
        "link-within", lambda target: target.symlink_to(f"orders.{orders.entity}-target.csv"), "loaded", 3
    )
    yield order("link-target", whole, "loaded", 3, path=f"orders/dt={DAY}/orders.{orders.entity}-target.csv")
    # names
    for name, path in {
        "no-such-day": "orders/dt=2026-02-30/orders.csv",
        "year-zero": "orders/dt=0000-01-01/orders.csv",
        "arabic-digits": f"orders/dt={arabic(DAY)}/orders.csv",
        "other-day-in-name": f"orders/dt={DAY}/orders-2026.csv",
        "upper-case": f"orders/dt={DAY}/ORDERS.CSV",
        "quote-in-name": f'orders/dt={DAY}/orders.it\'s"x".csv',
        "percent-in-name": f"orders/dt={DAY}/orders.%s%n.csv",
        "newline-in-name": f"orders/dt={DAY}/orders.a\nb.csv",
        "unicode-in-name": f"orders/dt={DAY}/orders.été.csv",
        "bytes-in-name": os.fsdecode(f"orders/dt={DAY}/orders.".encode() + b"\xff.csv"),
        "dots-in-name": f"orders/dt={DAY}/orders...%2e%2e%2fetc.csv",
    }.items():
        yield order(name, whole, "unmatched", path=path)
    for name, path in {
        "sales-newline-in-name": "a\nb.csv",
        "sales-escape-in-name": "\x1b[31mred.csv",
        "sales-right-to-left-name": "\u202egpj.csv",
        "sales-bytes-in-name": os.fsdecode(b"caf\xe9.csv"),
    }.items():
        data = file_of(sales, row(sales, 1))
        yield BadFile(
            name, "sales", "sales", path, lambda target, data=data: target.write_bytes(data), "unreadable",
            said="cannot be shown",
        )  # fmt: skip
    for name, path in {
        "sales-quotes-in-name": 'it\'s "quoted" -- 100%s.csv',
        "sales-unicode-in-name": "été 売上 €.csv",
    }.items():
        data = file_of(sales, row(sales, 1), row(sales, 2, sale_date="2026-01-01"))
        yield BadFile(
            name, "sales", "sales", path, lambda target, data=data: target.write_bytes(data), "loaded", 2
        )
    undated = file_of(sales, row(sales, 1, sale_date="2026-02-31"))
    yield BadFile(
        "sales-without-a-date", "sales", "sales", "undated.csv",
        lambda target: target.write_bytes(undated), "loaded", 1, {2: "sale_date: *out of range"},
    )  # fmt: skip
    # headers
    many = header(orders) + "".join(f",column_{n}" for n in range(10_000))
    yield order(
        "ten-thousand-columns", f"{many}\n{good[0]}{',x' * 10_000}\n{good[1]}\n".encode(), "loaded", 2,
        {3: "has 14 fields where the header has 10014"},
    )  # fmt: skip
    yield order("a-million-blank-columns", b"," * 900_000 + b"\n", "refused", said="900,001 columns")
    yield order("a-long-header", b"a" * 3_000_000 + b"\n" + whole, "refused", said="are no header")
    yield order("a-million-newlines-first", b"\n" * 3_000_000 + whole, "refused", said="blank bytes")
    yield order("some-newlines-first", b"\n" * 100_000 + whole, "loaded", 3)
    yield order("unclosed-header", b'"' + b"\n" * 900_000 + whole, "refused", said="line 1 opens a quotation")
    yield order("only-quotes", b'"' * 900_000, "refused", said="lacks the required")
    yield order("header-of-controls", b"\x1b[2J\x07,\xe2\x80\xae\n1,2\n", "refused", said="\\x1b[2J\\x07")
    yield order("header-with-nul", b"order_id,\0\n1,2\n", "refused", said="NUL byte")
    yield order("header-with-newline", whole.replace(ends.encode(), b'"shipping\nmethod"', 1), "loaded", 3)
    # other formats
    for name, magic, said in (
        ("zip", b"PK\x03\x04\x14\0\0\0", "ZIP"),
        ("excel", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "spreadsheet"),
        ("parquet", b"PAR1\x15\x04", "Parquet"),
        ("bzip2", b"BZh91AY&SY", "bzip2"),
        ("zstd", b"\x28\xb5\x2f\xfd\x04", "zstd"),
        ("xz", b"\xfd7zXZ\0\0\x04", "xz"),
        ("pdf", b"%PDF-1.7\n", "PDF"),
        ("utf-16-be", "order_id\n".encode("utf-16-be"), "NUL byte"),
        ("elf", b"\x7fELF\x02\x01\x01\0\0\n", "NUL byte"),
        ("html", b"<!DOCTYPE html>\n<html><body>404</body></html>\n", "lacks the required"),
        ("json", b'[{"order_id": "1"}]\n', "lacks the required"),
    ):
        yield order(name, magic + b"\n" + whole, "refused", said=said)
    yield order(
        "many-members",
        gzip.compress(whole, mtime=0) + gzip.compress(b"", mtime=0) * 100_000,
        "loaded",
        3,
        path=f"orders/dt={DAY}/orders.once-many-members.csv.gz",
    )
    yield order(
        "garbage-behind",
        gzip.compress(whole, mtime=0) + b"garbage",
        "unreadable",
        said="no sound gzip file",
        path=f"orders/dt={DAY}/orders.once-garbage-behind.csv.gz",
    )
    flipped = bytearray(gzip.compress(whole, mtime=0))
    flipped[-6] ^= 0xFF  # in the checksum
    yield order(
        "wrong-checksum",
        bytes(flipped),
        "unreadable",
        said="no sound gzip file",
        path=f"orders/dt={DAY}/orders.once-wrong-checksum.csv.gz",
    )
    # the same content as a file and packed
    yield order("twice", whole, "loaded", 3)
    yield order(
        "twice-packed",
        gzip.compress(whole, mtime=0),
        "loaded",
        3,
        path=f"orders/dt={DAY}/orders.once-twice.csv.gz",
    )
    # long things
    key = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(3000))  # nothing that packs well
    yield order(
        "key-too-long-for-an-index", file_of(orders, good[0], row(orders, 2, order_id=key), good[2]),
        "loaded", 3, {3: "order_id: is longer than 64"},
    )  # fmt: skip
    long_line = row(orders, 2, customer_id="x" * (5 << 20))
    yield order(
        "line-of-five-megabytes", file_of(orders, good[0], long_line, good[2]), "loaded", 3,
        {3: "is longer than 4,194,304 bytes"},
    )  # fmt: skip
    long_line = row(orders, 2, customer_id="x" * (3 << 20))
    yield order(
        "line-of-three-megabytes", file_of(orders, good[0], long_line, good[2]), "loaded", 3,
        {3: "customer_id: is longer than 64"},
    )  # fmt: skip
    yield order(
        "field-of-quotes", file_of(orders, good[0], row(orders, 2, customer_id='"' * 400_000), good[2]),
        "loaded", 3, {3: "customer_id: is longer than 64"},
    )  # fmt: skip
    # quotes
    stray = row(orders, 2).replace("A-2", 'A-2"')
    yield order("stray-quote", file_of(orders, good[0], stray, *good[2:]), "loaded", 3, {3: "not closed"})
    stray_twice = [row(orders, n).replace("B-", 'B"-') for n in (2, 3)]
    yield order(
        "two-stray-quotes", file_of(orders, good[0], *stray_twice, row(orders, 4)), "loaded", 4,
        {3: "not closed", 4: "not closed"},
    )  # fmt: skip
    yield order(
        "line-end-in-quotes", file_of(orders, row(orders, 1, customer_id="a\r\nb\nc"), good[1]), "loaded", 2
    )
    yield order("unclosed-to-the-end", whole + b'o9,"' + b"x\n" * 100, "refused", said="rows fail")
    yield order("mixed-line-ends", whole.replace(b"\n", b"\r\n", 2), "loaded", 3)
    yield order("no-last-line-end", whole.rstrip(b"\n"), "loaded", 3)
    yield order("blank-rows", whole.replace(b"\n", b"\n \n\t\n\r\n"), "loaded", 3)
    yield order("key-twice", file_of(orders, good[0], good[0], good[1]), "loaded", 3, {2: "order_id"})
    yield order(
        "times-with-zones",
        file_of(
            orders, row(orders, 1, created_at="2026-01-05T12:00:00+14:00", updated_at="2026-01-05 12:00Z")
        ),
        "loaded",
        1,
    )


def catalogue(contracts: Mapping[str, Mapping[str, Contract]]) -> tuple[BadFile, ...]:
    """Every bad file.

    Args:
        contracts: By source and entity: those the platform has.
    """
    files = [
        file
        for entities in contracts.values()
        for contract in entities.values()
        for file in _entity_files(contract)
    ]
    files += _single_files(contracts["ecommerce"]["orders"], contracts["sales"]["sales"])
    return tuple(files)
