"""Spellings that PostgreSQL's casts take and a contract does not.

`today` is a date to PostgreSQL, another one every day; `0x10` and `1_000` are integers. Once they are cast
nothing shows what they were, so they are looked for in the bytes on their way to COPY. (`infinity` and
`NaN` stay visible: rules of the raw table reject them.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ecommerce_dw.contracts.model import Contract

_TIME_TYPES = ("date", "timestamptz")
_NUMBER_TYPES = ("integer", "bigint", "numeric")

#: Words with which PostgreSQL reads the clock or a constant, and where in each its rare pair of letters is.
_WORDS = (
    (b"now", 1),
    (b"today", 2),
    (b"tomorrow", 6),
    (b"yesterday", 6),
    (b"epoch", 1),
    (b"allballs", 2),
)
_PREFIXES = (b"0x", b"0o", b"0b")
_WORD = re.compile(rb"(?i)(?<![a-z])(?:" + b"|".join(word for word, _ in _WORDS) + rb")(?![a-z])")
_NUMBER = re.compile(rb"(?i)(?<![0-9a-z])0[xob]|(?<=[0-9])_(?=[0-9])")

#: Pieces from this size on are searched with numpy; importing it takes longer than a small file does.
_LARGE = 1 << 15
#: So many suspects in one piece are looked up together.
_MANY = 50
#: Blanks around the bytes, so that the neighbours of the first and the last are there. Even, for pairs.
_MARGIN = 12


class Spellings:
    """Finds such spellings in the fields of a file whose types they would pass."""

    def __init__(self, contract: Contract, fields: Sequence[str | None]) -> None:
        """Take down which fields are times and numbers.

        Args:
            fields: Raw column of each field, in the file's order; None for an extra column.
        """
        types = [None if name is None else contract.column(name).type for name in fields]
        self._names = tuple(fields)
        self._times = frozenset(n for n, type_ in enumerate(types) if type_ in _TIME_TYPES)
        self._numbers = frozenset(n for n, type_ in enumerate(types) if type_ in _NUMBER_TYPES)

    def are_in(self, text: bytes, delimiter: bytes) -> bool:
        """Whether one of the records has such a field.

        Args:
            text: Whole records without quotation marks, in which each delimiter and line end separates.
        """
        for fields, positions in self._suspects(text):
            if len(positions) > _MANY:
                found = _fields_at(text, delimiter, len(self._names), positions)
                if not fields.isdisjoint(found):
                    return True
                continue
            for position in positions:
                start = text.rfind(b"\n", 0, position) + 1
                if text.count(delimiter, start, position) in fields:
                    return True
        return False

    def may_be_in(self, record: bytes) -> bool:
        """Whether a record without its quotation marks has such a spelling anywhere: a quick look."""
        return any(positions for _, positions in self._suspects(record))

    def reasons(self, fields: Sequence[bytes]) -> list[str]:
        """Why the fields of a record are rejected, if they are."""
        found = []
        for number in sorted(self._times | self._numbers):
            value = fields[number]
            if number in self._times and _WORD.search(value):
                why = "is a word, not a time"
            elif number in self._numbers and _NUMBER.search(value):
                why = "is not written as a decimal number"
            else:
                continue
            shown = value.decode("utf-8", "backslashreplace").strip()[:100]
            found.append(f'{self._names[number]}: "{shown}" {why}')
        return found

    def _suspects(self, text: bytes) -> Iterator[tuple[frozenset[int], Sequence[int]]]:
        search = _search if len(text) < _LARGE else _search_large
        words, numbers = search(text, bool(self._times), bool(self._numbers))
        yield self._times, words
        yield self._numbers, numbers


def _search(text: bytes, has_times: bool, has_numbers: bool) -> tuple[list[int], list[int]]:
    """Where words begin, and where spellings of numbers are."""
    lower = text.lower()
    words: list[int] = []
    numbers: list[int] = []
    for word, _ in _WORDS if has_times else ():
        words += (at for at in _find_all(lower, word) if _WORD.match(lower, at))
    for mark in (*_PREFIXES, b"_") if has_numbers else ():
        numbers += (at for at in _find_all(lower, mark) if _NUMBER.match(lower, at))
    return words, numbers


def _find_all(text: bytes, wanted: bytes) -> Iterator[int]:
    position = text.find(wanted)
    while position >= 0:
        yield position
        position = text.find(wanted, position + 1)


def _search_large(text: bytes, has_times: bool, has_numbers: bool) -> tuple[list[int], list[int]]:
    """The same, with a few passes over whole pieces, each a twentieth of a nanosecond a byte."""
    import numpy as np

    size = len(text) + 2 * _MARGIN
    lower = np.full(size + size % 2, ord(" "), np.uint8)
    # Sets the bit that tells lower case from upper case; digits have it already, `_` becomes 0x7f.
    np.bitwise_or(np.frombuffer(text, np.uint8), 0x20, out=lower[_MARGIN : _MARGIN + len(text)])
    pairs: dict[bytes, NDArray[np.intp]] = {}

    def starts_of(word: bytes, offset: int) -> NDArray[np.intp]:
        pair = word[offset : offset + 2]
        if pair not in pairs:
            pairs[pair] = _positions_of_pair(lower, pair)
        starts = pairs[pair] - offset
        for number, letter in enumerate(word):
            if len(starts) and not offset <= number < offset + 2:
                starts = starts[lower[starts + number] == letter]
        return starts

    words: list[int] = []
    numbers: list[int] = []
    for word, offset in _WORDS if has_times else ():
        starts = starts_of(word, offset)
        if len(starts):
            starts = starts[~_is_letter(lower[starts - 1]) & ~_is_letter(lower[starts + len(word)])]
            words += (starts - _MARGIN).tolist()
    if has_numbers:
        letters = lower[1:]
        is_prefix = (letters == ord("x")) | (letters == ord("o")) | (letters == ord("b"))
        is_prefix &= lower[:-1] == ord("0")
        if is_prefix.any():
            starts = np.flatnonzero(is_prefix)
            before = lower[starts - 1]
            numbers += (starts[~_is_letter(before) & ~_is_digit(before)] - _MARGIN).tolist()
        marks = np.flatnonzero(lower == 0x7F)
        marks = marks[_is_digit(lower[marks - 1]) & _is_digit(lower[marks + 1])]
        numbers += (marks - _MARGIN).tolist()
    return words, numbers


def _fields_at(text: bytes, delimiter: bytes, fields: int, positions: Sequence[int]) -> set[int]:
    """Numbers of the fields in which positions lie, where every record has as many."""
    import numpy as np

    data = np.frombuffer(text, np.uint8)
    separators = np.flatnonzero((data == delimiter[0]) | (data == ord("\n")))
    return set((np.searchsorted(separators, positions) % fields).tolist())


def _positions_of_pair(lower: NDArray[np.uint8], pair: bytes) -> NDArray[np.intp]:
    import numpy as np

    wanted = np.frombuffer(pair, np.uint16)[0]
    found = []
    for start, end in ((0, len(lower)), (1, len(lower) - 1)):
        hits = lower[start:end].view(np.uint16) == wanted
        if hits.any():
            found.append(2 * np.flatnonzero(hits) + start)
    return np.concatenate(found) if found else np.empty(0, np.intp)


def _is_letter(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (values >= ord("a")) & (values <= ord("z"))


def _is_digit(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (values >= ord("0")) & (values <= ord("9"))
