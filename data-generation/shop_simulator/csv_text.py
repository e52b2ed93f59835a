"""CSV text from numpy columns, without a Python loop over rows.

Every cell is written into a fixed-width slot padded with NUL bytes; deleting the NULs then gives the file.
Numbers, amounts and times are looked up in tables of ready-made text. Text is RFC 4180, UTF-8, LF.
"""

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Text = NDArray[np.bytes_]
Ints = NDArray[np.integer]
Piece = bytes | Text
"""A part of a cell: the same bytes in every row, or one byte string per row."""
Column = Sequence[Piece]
"""The pieces that stand next to each other in one cell; no piece at all is an empty cell (null)."""

_GROUP = 4
_PLAIN_LIMIT = 100_000


def quote(text: str) -> bytes:
    """One value as a CSV cell: quoted only when it has to be.

    Raises ValueError for a NUL character, which this writer uses as padding.
    """
    if "\0" in text:
        raise ValueError(f"a CSV value must not contain NUL: {text!r}")
    if any(character in text for character in ',"\r\n'):
        text = '"' + text.replace('"', '""') + '"'
    return text.encode()


def table(values: Iterable[str]) -> Text:
    """A lookup table of quoted CSV cells."""
    return np.array([quote(value) for value in values], dtype=np.bytes_)


def header(columns: Sequence[str]) -> bytes:
    """The header line of a file."""
    return b",".join(quote(column) for column in columns) + b"\n"


def render(columns: Sequence[Column], rows: int) -> bytes | bytearray:
    """The CSV lines of `rows` rows; array pieces have exactly `rows` elements."""
    if rows == 0:
        return b""
    template = bytearray()
    slots: list[tuple[int, Text]] = []
    for number, column in enumerate(columns):
        if number:
            template += b","
        for piece in column:
            if isinstance(piece, bytes):
                template += piece
            else:
                slots.append((len(template), piece))
                template += bytes(piece.dtype.itemsize)
    template += b"\n"
    width = len(template)
    text = bytearray(rows * width)
    np.frombuffer(text, dtype=np.uint8).reshape(rows, width)[:] = np.frombuffer(template, dtype=np.uint8)
    for offset, piece in slots:
        slot: Text = np.ndarray((rows,), piece.dtype, buffer=text, offset=offset, strides=(width,))
        slot[...] = piece
    return text.translate(None, b"\0")


@cache
def _digits(width: int) -> Text:
    return np.array([f"{number:0{width}d}" for number in range(10**width)], dtype=np.bytes_)


@cache
def _plain() -> Text:
    return np.arange(_PLAIN_LIMIT).astype("S5")


@cache
def _cents() -> Text:
    return np.array([f".{cents:02d}" for cents in range(100)], dtype=np.bytes_)


@cache
def _thousandths() -> Text:
    return np.array([f".{part:03d}" for part in range(1000)], dtype=np.bytes_)


@cache
def _times() -> Text:
    seconds = np.arange(86_400)
    text = np.full((86_400, 8), ord(":"), dtype=np.uint8)
    for start, part in ((0, seconds // 3600), (3, seconds // 60 % 60), (6, seconds % 60)):
        text[:, start] = ord("0") + part // 10
        text[:, start + 1] = ord("0") + part % 10
    return text.view("S8").reshape(-1)


def padded(numbers: Ints, width: int) -> list[Piece]:
    """Whole numbers >= 0 with leading zeros, `width` digits (higher digits are cut)."""
    pieces: list[Piece] = []
    left = width
    while left:
        size = left % _GROUP or _GROUP
        left -= size
        group = numbers // 10**left if left else numbers
        pieces.append(_digits(size).take(group % 10**size))
    return pieces


def plain(numbers: Ints) -> list[Piece]:
    """Whole numbers without leading zeros; fastest for 0 to 99,999."""
    if len(numbers) and (numbers.max() >= _PLAIN_LIMIT or numbers.min() < 0):
        return [numbers.astype(np.int64).astype("S21")]
    return [_plain().take(numbers)]


def money(cents: Ints) -> list[Piece]:
    """Amounts >= 0 in whole cents as decimal text with exactly two places.

    Raises ValueError for a negative amount.
    """
    if len(cents) and cents.min() < 0:
        raise ValueError(f"an amount must not be negative: {cents.min()} cents")
    return [*plain(cents // 100), _cents().take(cents % 100)]


def decimal3(thousandths: Ints) -> list[Piece]:
    """Numbers >= 0 in whole thousandths as decimal text with exactly three places."""
    return [*plain(thousandths // 1000), _thousandths().take(thousandths % 1000)]


def time_of_day(seconds: Ints) -> Text:
    """HH:MM:SS for seconds since midnight, 0 to 86,399."""
    return _times().take(seconds)


def blanked(piece: Text, keep: NDArray[np.bool_]) -> Text:
    """The piece where `keep`, nothing (null) elsewhere."""
    return np.where(keep, piece, np.array(b"", dtype=piece.dtype))


_BOOLEANS = np.array([b"false", b"true"])


def booleans(values: NDArray[np.bool_]) -> Text:
    """true or false."""
    return _BOOLEANS.take(values.astype(np.int8))


def joined(pieces: Sequence[Piece], rows: int) -> Text:
    """The pieces of a cell as one array of byte strings; pieces must fill their width in every row."""
    width = sum(len(piece) if isinstance(piece, bytes) else piece.dtype.itemsize for piece in pieces)
    text: Text = np.empty(rows, dtype=f"S{width}")
    cells = text.view(np.uint8).reshape(rows, width)
    offset = 0
    for piece in pieces:
        part = np.frombuffer(piece, np.uint8) if isinstance(piece, bytes) else piece.view(np.uint8)
        size = len(piece) if isinstance(piece, bytes) else piece.dtype.itemsize
        cells[:, offset : offset + size] = part if isinstance(piece, bytes) else part.reshape(rows, size)
        offset += size
    return text
