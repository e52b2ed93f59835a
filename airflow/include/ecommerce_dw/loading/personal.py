"""Personal data in the bytes of a file: which fields are whose, and the file without them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading.stream import MAX_RECORD_BYTES, Header, RecordStream, records, split_fields

#: The column that says whose a row is, in every contract.
PERSON = "customer_id"
#: The column that ties a visit's rows together; those that name nobody are the person's as well.
VISIT = "session_id"


class UnerasableError(RuntimeError):
    """A contract wants personal data that can't be left out; the message names it and what to do."""


def erasable_columns(contract: Contract) -> tuple[str, ...]:
    """The columns that are blanked of a person: the personal ones.

    Not the keys, which rows and money hang on, nor required indirect ones (a country).

    Raises:
        UnerasableError: A column is required and directly personal.
    """
    keys = {PERSON, *contract.primary_key, *contract.touch_keys}
    personal = [column for column in contract.columns if column.pii != "none" and column.name not in keys]
    stuck = [column.name for column in personal if column.is_required and column.pii == "direct"]
    if stuck and PERSON in {column.name for column in contract.columns}:
        raise UnerasableError(
            f"Contract {contract.source}.{contract.entity} requires {', '.join(stuck)}, which says who "
            "somebody is: a row without it would be rejected. Make it optional in the contract. Nothing was "
            "changed."
        )
    return tuple(column.name for column in personal if not column.is_required)


def is_about_people(contract: Contract) -> bool:
    """Whether rows of it are somebody's and have something to blank."""
    return PERSON in {column.name for column in contract.columns} and bool(erasable_columns(contract))


@dataclass
class People:
    """Whose data goes.

    Attributes:
        customers, visits: Ids, as their bytes stand in a file.
    """

    customers: set[bytes] = field(default_factory=set)
    visits: set[bytes] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.customers or self.visits)

    @property
    def words(self) -> tuple[bytes, ...]:
        """What stands somewhere in every record of theirs."""
        return (*self.customers, *self.visits)


class Eraser:
    """Blanks personal data of people in records under one header.

    What is left of a record is judged as it was: one that was rejected is rejected again, because the values
    that it was rejected for become as many asterisks, and the marks that a malformed one is made of stay.

    Attributes:
        changed: Records that `erased` has changed.
    """

    def __init__(self, contract: Contract, header: Header, people: People) -> None:
        self._people = people
        self._delimiter, self._quote = contract.layout.delimiter.encode(), contract.layout.quote.encode()
        self._erasable = set(erasable_columns(contract))
        self._fields = header.fields
        self._names = {column.name for column in contract.columns}
        self._stream = RecordStream(contract, header, 0)
        self.changed = 0

    def whose(self, record: bytes) -> tuple[bytes | None, bytes | None]:
        """Customer and visit that a record names; None for what it does not."""
        values = split_fields(record, self._delimiter, self._quote)
        if len(values) != len(self._fields):
            return None, None
        named = dict(zip(self._fields, values, strict=True))
        return named.get(PERSON) or None, named.get(VISIT) or None

    def erase(self, record: bytes, reasons: Collection[str] = ()) -> bytes:
        """The record without the personal data; as it is where it is about somebody else.

        Args:
            record: Without its line end.
            reasons: Why it was rejected.
        """
        people = self._people
        spans = _spans(record, self._delimiter, self._quote)
        values = [self._value(record[start:end]) for start, end in spans]
        failed = {name for reason in reasons for name in reason.partition(": ")[0].split(", ")}
        is_malformed = not failed <= self._names
        if len(spans) != len(self._fields) or record.count(self._quote) % 2:
            if not people.customers.intersection(values):
                return record
            wanted = [span for span, value in zip(spans, values, strict=True) if value not in people.words]
            return self._changed(record, wanted, self._masked)
        named = dict(zip(self._fields, values, strict=True))
        customer, visit = named.get(PERSON), named.get(VISIT)
        if customer not in people.customers and (customer or visit not in people.visits):
            return record
        for name, span in reversed(list(zip(self._fields, spans, strict=True))):
            # A column that the contract does not know may hold anything.
            if name is None or name in self._erasable:
                keeps = is_malformed or name in failed
                record = self._changed(record, [span], self._masked if keeps else lambda value: b"")
        return record

    def erased(
        self, content: Iterable[bytes], first_line: int, rejected: Iterable[tuple[bytes, Sequence[str]]]
    ) -> Iterator[bytes]:
        """A file's content, after its header, without the personal data; all other bytes as they are.

        Args:
            content: In pieces of any size.
            first_line: On which line it begins.
            rejected: The file's rejected records, without the personal data already, and why. They are known
                again by their bytes: a value over several lines that was erased has moved the lines after it.
        """
        known: dict[tuple[str, ...], set[bytes]] = {}
        for left, reasons in rejected:
            known.setdefault(tuple(reasons), set()).add(left)
        for piece, line in self._pieces(content, first_line):
            if not any(word in piece for word in self._people.words):
                yield piece
                continue
            lines = piece.split(b"\n")
            starts = list(self._records(piece, line))
            for (start, record), (end, _) in zip(
                starts, [*starts[1:], (line + len(lines), b"")], strict=True
            ):
                raw = b"\n".join(lines[start - line : end - line])
                new = raw
                if any(word in record for word in self._people.words):
                    new = self._as_judged(record, known) + raw[len(record) :]
                    self.changed += new != raw
                yield new if end == line + len(lines) else new + b"\n"

    def _as_judged(self, record: bytes, known: Mapping[tuple[str, ...], set[bytes]]) -> bytes:
        for reasons, records_left in known.items():
            if (erased := self.erase(record, reasons)) in records_left:
                return erased
        return self.erase(record)

    def people_in(
        self,
        content: Iterable[bytes],
        first_line: int,
        is_wanted: Callable[[bytes], bool],
        *,
        is_wanted_visit: Callable[[bytes], bool] = lambda visit: False,
        word: bytes = b"",
    ) -> People:
        """The wanted customers of whom a file has something, their visits, and wanted visits of nobody's.

        Args:
            word: What stands somewhere in every record of theirs, where that is known.
        """
        found = People()
        for piece, line in self._pieces(content, first_line):
            if word not in piece:
                continue
            for _, record in self._records(piece, line):
                customer, visit = self.whose(record)
                if customer is not None and is_wanted(customer):
                    found.customers.add(customer)
                    if visit is not None:
                        found.visits.add(visit)
                elif customer is None and visit is not None and is_wanted_visit(visit):
                    found.visits.add(visit)
        return found

    def _records(self, piece: bytes, line: int) -> Iterator[tuple[int, bytes]]:
        return records(piece, line, self._quote, self._stream.may_span_lines)

    def _pieces(self, content: Iterable[bytes], line: int) -> Iterator[tuple[bytes, int]]:
        """Whole records together, and the line they begin on."""
        rest = b""
        for block in content:
            rest += block
            cut = self._stream.cut(rest, len(rest))
            if not cut and len(rest) > MAX_RECORD_BYTES:  # a mark that is never closed
                cut = rest.find(b"\n") + 1
            if cut:
                yield rest[:cut], line
                line += rest.count(b"\n", 0, cut)
                rest = rest[cut:]
        if rest:
            yield rest, line

    def _value(self, field_: bytes) -> bytes:
        return split_fields(field_, self._delimiter, self._quote)[0] if self._quote in field_ else field_

    def _masked(self, value: bytes) -> bytes:
        kept = self._delimiter + self._quote + b"\r\n\0"
        try:
            value.decode()
        except UnicodeDecodeError:
            kept += bytes(range(0x80, 0x100))
        return re.sub(b"[^" + re.escape(kept) + b"]", b"*", value, flags=re.DOTALL)

    @staticmethod
    def _changed(record: bytes, spans: Iterable[tuple[int, int]], change: Callable[[bytes], bytes]) -> bytes:
        for start, end in sorted(spans, reverse=True):
            record = record[:start] + change(record[start:end]) + record[end:]
        return record


def _spans(record: bytes, delimiter: bytes, quote: bytes) -> list[tuple[int, int]]:
    """Where each field of a record lies, with its quotation marks."""
    spans, start, is_quoted = [], 0, False
    for at, byte in enumerate(record):
        if byte == quote[0]:
            is_quoted = not is_quoted
        elif byte == delimiter[0] and not is_quoted:
            spans.append((start, at))
            start = at + 1
    return [*spans, (start, len(record))]
