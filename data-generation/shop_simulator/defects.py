"""What goes wrong in a shop's files: which rows and which files, drawn by seed, and what is done to them.

A day's defects follow from seed, opening, scale, rate and date, like its rows. Which columns of an entity can
get which defect is told by one table, COLUMNS; an entity that is not in it has file defects and
damaged lines alone.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Literal

import numpy as np

from shop_simulator.randomness import Streams

ROW_KINDS = (
    "wrong_type",
    "missing_value",
    "out_of_range",
    "unknown_code",
    "orphan",
    "ragged_line",
    "broken_encoding",
    "stray_quote",
    "duplicate_key_in_file",
    "duplicate_key_across_files",
)
"""Defects of a single line."""
FILE_KINDS = (
    "late_file",
    "redelivered_unchanged",
    "redelivered_changed",
    "redelivered_changed_back",
    "half_written_file",
    "truncated_file",
    "unreadable_file",
)
"""Defects of how a file is delivered."""
KINDS = (*ROW_KINDS, *FILE_KINDS, "missing_day")

HIGHEST_RATE = 0.2
QUIET_DAYS = 7
"""A shop's first files come whole and in time: before that nothing says what is usual."""
MAX_DELAY = 5
"""Everything that is delivered of a day has come this many days later."""
LOOK_BACK = 3
"""A row is delivered again in a file of one of this many days after its own."""

_MISSING_DAY_SHARE = 0.5
"""Days that are missing, as a share of the rate; nine files at once, so fewer than single files."""
# A consumer that refuses a file with more than ten bad rows and more than 5 % would refuse what should be
# told apart row by row; one line more is bad where a file is cut off.
_MOST_BAD_ROWS = 9
_MOST_BAD_SHARE = 0.025

Outcome = Literal["rejected", "flagged", "superseded", "refused", "warned", "no effect"]
Type = Literal["integer", "number", "date", "timestamp", "boolean"]
Values = dict[str, str]

_WRONG: Mapping[Type, tuple[str, ...]] = {
    "integer": ("three", "1.5", "0x10", "1_000"),
    "number": ("n/a", "12,50", "1.2.3", "NaN"),
    "date": ("2026-02-30", "31/12/2025", "today", "infinity"),
    "timestamp": ("yesterday", "2026-13-01 00:00:00", "2026-01-01 25:61:00", "soon"),
    "boolean": ("maybe", "2"),
}
_INVALID_BYTES = (b"\xff", b"\xe9", b"\xc3(", b"\xed\xa0\x80")


@dataclass(frozen=True)
class EntityColumns:
    """Which columns of an entity can get which defect."""

    key: tuple[str, ...]
    ordering: str
    """Orders the versions of a key; of the same moment the later file counts."""
    types: Mapping[str, Type]
    required: tuple[str, ...]
    not_negative: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    references: Mapping[str, str] = field(default_factory=dict)
    """Column → entity whose key it names."""
    damaged: str = ""
    """A column outside the keys, in which bytes and quotation marks go wrong."""
    amounts: tuple[str, ...] = ()
    """Columns of money, whose sums the truth tells."""
    changed: tuple[tuple[str, str], ...] = ()
    """What a corrected row has otherwise: column, and an amount to be added, the name of a column whose value
    is added, or `=text`."""


COLUMNS: Mapping[str, EntityColumns] = {
    "customers": EntityColumns(
        key=("customer_id",),
        ordering="updated_at",
        types={
            "registration_date": "date",
            "birth_date": "date",
            "marketing_opt_in": "boolean",
            "updated_at": "timestamp",
        },
        required=("customer_id", "registration_date", "updated_at"),
        codes=("customer_segment", "gender", "acquisition_channel"),
        damaged="city",
        changed=(("city", "=Corrected Springs"),),
    ),
    "products": EntityColumns(
        key=("product_id",),
        ordering="updated_at",
        types={
            "price": "number",
            "cost": "number",
            "weight": "number",
            "created_date": "date",
            "is_active": "boolean",
            "updated_at": "timestamp",
        },
        required=("product_id", "product_name", "price", "created_date", "is_active", "updated_at"),
        not_negative=("price", "cost", "weight"),
        damaged="dimensions",
        changed=(("price", "1.00"),),
    ),
    "orders": EntityColumns(
        key=("order_id",),
        ordering="updated_at",
        types={
            "order_date": "date",
            "shipping_cost": "number",
            "tax_amount": "number",
            "total_amount": "number",
            "shipped_at": "timestamp",
            "delivered_at": "timestamp",
            "created_at": "timestamp",
            "updated_at": "timestamp",
        },
        required=(
            *("order_id", "order_date", "order_status", "shipping_cost", "tax_amount", "total_amount"),
            *("currency", "created_at", "updated_at"),
        ),
        not_negative=("shipping_cost", "tax_amount", "total_amount"),
        codes=("order_status", "payment_method", "shipping_method", "currency"),
        references={"customer_id": "customers"},
        damaged="payment_method",
        amounts=("shipping_cost", "tax_amount", "total_amount"),
        changed=(("shipping_cost", "1.00"), ("total_amount", "1.00")),
    ),
    "order_items": EntityColumns(
        key=("order_item_id",),
        ordering="created_at",
        types={
            "quantity": "integer",
            "unit_price": "number",
            "line_total": "number",
            "discount_amount": "number",
            "created_at": "timestamp",
        },
        required=(
            *("order_item_id", "order_id", "product_id", "quantity", "unit_price", "line_total"),
            *("discount_amount", "created_at"),
        ),
        not_negative=("quantity", "unit_price", "line_total", "discount_amount"),
        references={"order_id": "orders", "product_id": "products"},
        damaged="created_at",
        amounts=("line_total", "discount_amount"),
        changed=(("quantity", "1"), ("line_total", "unit_price")),
    ),
    "payments": EntityColumns(
        key=("payment_id",),
        ordering="paid_at",
        types={"paid_at": "timestamp", "amount": "number"},
        required=("payment_id", "order_id", "paid_at", "method", "amount", "status"),
        not_negative=("amount",),
        codes=("method", "status"),
        references={"order_id": "orders"},
        damaged="method",
        amounts=("amount",),
        changed=(("amount", "1.00"),),
    ),
    "returns": EntityColumns(
        key=("return_id",),
        ordering="returned_at",
        types={"returned_at": "timestamp", "quantity": "integer", "refund_amount": "number"},
        required=("return_id", "order_item_id", "returned_at", "quantity", "reason", "refund_amount"),
        not_negative=("quantity", "refund_amount"),
        codes=("reason",),
        references={"order_item_id": "order_items"},
        damaged="reason",
        amounts=("refund_amount",),
        changed=(("refund_amount", "0.01"),),
    ),
    "inventory": EntityColumns(
        key=("product_id", "snapshot_date"),
        ordering="snapshot_date",
        types={"snapshot_date": "date", "on_hand": "integer", "received": "integer", "sold": "integer"},
        required=("product_id", "snapshot_date", "on_hand", "received", "sold"),
        not_negative=("on_hand", "received", "sold"),
        references={"product_id": "products"},
        damaged="on_hand",
        changed=(("on_hand", "1"),),
    ),
    "web_events": EntityColumns(
        key=("event_id",),
        ordering="event_timestamp",
        types={"event_timestamp": "timestamp"},
        required=(
            *("event_id", "session_id", "event_type", "event_timestamp", "page_url", "device_type"),
            "country",
        ),
        codes=("event_type", "device_type"),
        references={"customer_id": "customers", "product_id": "products"},
        damaged="user_agent",
        changed=(("user_agent", "=Corrected/1.0"),),
    ),
    "marketing_spend": EntityColumns(
        key=("spend_date", "channel", "campaign"),
        ordering="spend_date",
        types={"spend_date": "date", "impressions": "integer", "clicks": "integer", "spend": "number"},
        required=("spend_date", "channel", "campaign", "impressions", "clicks", "spend"),
        not_negative=("impressions", "clicks", "spend"),
        codes=("channel",),
        damaged="spend",
        amounts=("spend",),
        changed=(("spend", "1.00"),),
    ),
}

_UNKNOWN = EntityColumns(key=(), ordering="", types={}, required=())


@dataclass(frozen=True)
class Defect:
    """Something that was made wrong on purpose."""

    kind: str
    entity: str
    business_date: date
    key: str
    """The row's key as it was before, its parts joined by `|`; empty for a file."""
    column: str
    """Empty where no single column is wrong."""
    injected: str
    outcome: Outcome


@dataclass(frozen=True)
class Row:
    """A line of a file as it is delivered."""

    text: bytes
    """Without its line end."""
    values: Values | None
    """Column → value; None where the line cannot be taken apart into its columns."""
    defect: Defect | None = None
    is_rejected: bool = False
    """Whether no consumer should take it for a row."""


@dataclass(frozen=True)
class DayFile:
    """The content of an entity's file of one day, with its defects."""

    entity: str
    day: date
    header: bytes
    rows: tuple[Row, ...]
    is_cut_off: bool = False
    """Whether it ends without a line end."""

    @property
    def content(self) -> bytes:
        """The file's bytes."""
        lines = b"\n".join((self.header, *(row.text for row in self.rows)))
        return lines if self.is_cut_off else lines + b"\n"


def check_rate(rate: float) -> None:
    """Raises ValueError for a rate of defects that is not between 0 and HIGHEST_RATE."""
    if not 0 <= rate <= HIGHEST_RATE:
        raise ValueError(f"the rate of defects must be from 0 to {HIGHEST_RATE}, not {rate}")


class Draw:
    """The defects of a shop by entity and day, before anything is done to the files."""

    def __init__(self, seed: int, rate: float) -> None:
        check_rate(rate)
        self.rate = rate
        self._streams = Streams(seed)

    def is_missing(self, day: int) -> bool:
        """Whether nothing of a day is ever delivered."""
        if day < QUIET_DAYS:
            return False
        return bool(self._random("day", day).random() < self.rate * _MISSING_DAY_SHARE)

    def of_file(self, entity: str, day: int) -> tuple[str, tuple[int, int]]:
        """What is wrong with how a day's file comes (empty: nothing), and two numbers of days."""
        if self.is_missing(day):
            return "missing_day", (0, 0)
        random = self._random(f"file/{entity}", day)
        first = int(random.integers(1, MAX_DELAY))
        second = int(random.integers(first + 1, MAX_DELAY + 1))
        kind = FILE_KINDS[int(random.integers(len(FILE_KINDS)))]
        is_hit = day >= QUIET_DAYS and random.random() < self.rate
        return (kind if is_hit else ""), (first, second)

    def of_rows(self, entity: str, day: int, rows: int) -> tuple[np.random.Generator, list[int]]:
        """Which rows of a day's file are to get a defect, and the generator for what it is."""
        random = self._random(f"rows/{entity}", day)
        return random, np.flatnonzero(random.random(rows) < self.rate).tolist()

    def _random(self, name: str, day: int) -> np.random.Generator:
        return self._streams.of_day(f"defects/{name}", day)


@dataclass(frozen=True)
class Clean:
    """A day's file before anything is done to it."""

    entity: str
    day: date
    header: bytes
    lines: tuple[bytes, ...]

    @classmethod
    def parse(cls, entity: str, day: date, content: bytes) -> "Clean":
        """Raises ValueError for a value with a line break, which no file of the shop has."""
        header, *lines = content.decode().split("\n")
        if lines.pop() or any(line.count('"') % 2 for line in lines):
            raise ValueError(f"{entity} of {day}: a value has a line break")
        return cls(entity, day, header.encode(), tuple(line.encode() for line in lines))

    @property
    def names(self) -> list[str]:
        """Columns in the file's order."""
        return split(self.header)

    def values(self, number: int) -> Values:
        """The values of a row, counted from 0."""
        return dict(zip(self.names, split(self.lines[number]), strict=True))


def split(line: bytes) -> list[str]:
    """The values of a CSV line."""
    text = line.decode()
    return next(csv.reader([text])) if '"' in text else text.split(",")


def join(values: Sequence[str]) -> bytes:
    """A CSV line of values."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue().encode()


def key_of(entity: str, values: Values) -> str:
    """The key of a row, its parts joined by `|`."""
    return "|".join(values[column] for column in columns_of(entity).key)


def columns_of(entity: str) -> EntityColumns:
    """Which columns of an entity can get which defect; none for an entity nobody told about."""
    return COLUMNS.get(entity, _UNKNOWN)


class Spoiler:
    """Does to the rows of one file what was drawn for them."""

    def __init__(
        self, clean: Clean, random: np.random.Generator, chosen: Sequence[int], earlier: Sequence[Clean]
    ) -> None:
        """
        Args:
            clean: The file.
            random: What is done is drawn from it.
            chosen: The rows that get a defect, rising.
            earlier: Files of days before, with only the rows that may be delivered again in this one.
        """
        self._clean = clean
        self._columns = columns_of(clean.entity)
        self._random = random
        self._chosen = chosen
        self._earlier = [(file, number) for file in earlier for number in range(len(file.lines))]
        self._more: list[Row] = []
        self._keys: set[str] = set()
        if self._columns.key:
            self._keys = {key_of(clean.entity, clean.values(n)) for n in range(len(clean.lines))}

    def file(self) -> DayFile:
        """The file with its defects; what is there twice stands at its end."""
        clean, rows = self._clean, []
        wrong = set(self._chosen)
        most = max(_MOST_BAD_ROWS, int(_MOST_BAD_SHARE * len(clean.lines)))
        bad = 0
        for number, line in enumerate(clean.lines):
            values = clean.values(number)
            row = Row(line, values)
            if number in wrong and bad < most:
                row = self._spoiled(row, values)
                bad += row.is_rejected
            rows.append(row)
        return DayFile(clean.entity, clean.day, clean.header, (*rows, *self._more))

    def _spoiled(self, row: Row, values: Values) -> Row:
        start = int(self._random.integers(len(ROW_KINDS)))
        for turn in range(len(ROW_KINDS)):
            kind = ROW_KINDS[(start + turn) % len(ROW_KINDS)]
            found: Row | None = getattr(self, f"_{kind}")(row, values)
            if found is not None:
                return found
        return row

    # one method for each kind: the row with it, or None where the row cannot have it ----------------------

    def _wrong_type(self, row: Row, values: Values) -> Row | None:
        column = self._pick([name for name in self._columns.types if name in values])
        if column is None:
            return None
        wrong = _WRONG[self._columns.types[column]]
        return self._with("wrong_type", values, column, self._one(wrong), "rejected")

    def _missing_value(self, row: Row, values: Values) -> Row | None:
        column = self._pick([name for name in self._columns.required if name in values])
        return None if column is None else self._with("missing_value", values, column, "", "rejected")

    def _out_of_range(self, row: Row, values: Values) -> Row | None:
        column = self._pick([name for name in self._columns.not_negative if values.get(name)])
        if column is None:
            return None
        value = Decimal(values[column])
        below = -value if value else Decimal(-1)
        return self._with("out_of_range", values, column, str(below), "rejected")

    def _unknown_code(self, row: Row, values: Values) -> Row | None:
        column = self._pick([name for name in self._columns.codes if values.get(name)])
        if column is None:
            return None
        code = "EUR" if column == "currency" else "unheard_of"
        return self._with("unknown_code", values, column, code, "rejected")

    def _orphan(self, row: Row, values: Values) -> Row | None:
        column = self._pick([name for name in self._columns.references if values.get(name)])
        if column is None:
            return None
        # Joined with the row's own key, so that no two rows name the same missing parent.
        nobody = f"{values[column]}-X{key_of(self._clean.entity, values)}"[-60:]
        return self._with("orphan", values, column, nobody, "flagged")

    def _ragged_line(self, row: Row, values: Values) -> Row | None:
        cells = list(values.values())
        if self._random.random() < 0.5:
            less = 1 + int(self._random.integers(min(2, len(cells) - 1)))
            text, injected = join(cells[:-less]), f"{less} field{'s'[: less - 1]} too few"
        else:
            text, injected = join([*cells, "surplus"]), "1 field too many"
        return self._damaged("ragged_line", values, "", text, injected)

    def _broken_encoding(self, row: Row, values: Values) -> Row | None:
        column = self._columns.damaged
        if not values.get(column):
            return None
        broken = _INVALID_BYTES[int(self._random.integers(len(_INVALID_BYTES)))]
        mark = "\x01"  # stands for the bytes until the line is put together
        line = join([mark + value if name == column else value for name, value in values.items()])
        defect = self._defect("broken_encoding", values, column, f"bytes 0x{broken.hex()}", "rejected")
        return Row(line.replace(mark.encode(), broken), values, defect, is_rejected=True)

    def _stray_quote(self, row: Row, values: Values) -> Row | None:
        column = self._columns.damaged
        if not values.get(column) or b'"' in row.text:
            return None
        cells = [value + '"' if name == column else value for name, value in values.items()]
        text = ",".join(cells).encode()
        return self._damaged("stray_quote", values, column, text, "a quotation mark that is never closed")

    def _duplicate_key_in_file(self, row: Row, values: Values) -> Row | None:
        if not self._columns.key:
            return None
        again, told = values, "the same row"
        if self._columns.changed and self._random.random() < 0.5:
            again, told = changed(self._clean.entity, values)
        line = 2 + len(self._clean.lines) + len(self._more)
        self._more.append(Row(join(list(again.values())), again))
        defect = self._defect(
            "duplicate_key_in_file", values, "", f"stands again on line {line}: {told}", "rejected"
        )
        return Row(row.text, values, defect, is_rejected=True)

    def _duplicate_key_across_files(self, row: Row, values: Values) -> Row | None:
        """A row of an earlier file, delivered once more beside this one."""
        while self._earlier:
            file, number = self._earlier.pop(int(self._random.integers(len(self._earlier))))
            again, told = file.values(number), "the same row"
            key = key_of(file.entity, again)
            if key in self._keys:  # the key is in this file by itself
                continue
            self._keys.add(key)
            if self._columns.changed and self._random.random() < 0.5:
                again, told = changed(file.entity, again)
            defect = self._defect(
                "duplicate_key_across_files", again, "", f"row of {file.day} once more: {told}", "superseded"
            )
            self._more.append(Row(join(list(again.values())), again, defect))
            return row
        return None

    # building blocks --------------------------------------------------------------------------------------

    def _with(self, kind: str, values: Values, column: str, value: str, outcome: Outcome) -> Row:
        spoiled = {**values, column: value}
        injected = f"{values[column]!r} became {value!r}"
        defect = self._defect(kind, values, column, injected, outcome)
        return Row(join(list(spoiled.values())), spoiled, defect, is_rejected=outcome == "rejected")

    def _damaged(self, kind: str, values: Values, column: str, text: bytes, injected: str) -> Row:
        return Row(text, None, self._defect(kind, values, column, injected, "rejected"), is_rejected=True)

    def _defect(self, kind: str, values: Values, column: str, injected: str, outcome: Outcome) -> Defect:
        clean = self._clean
        key = key_of(clean.entity, values)
        return Defect(kind, clean.entity, clean.day, key, column, injected, outcome)

    def _pick(self, names: Sequence[str]) -> str | None:
        return self._one(names) if names else None

    def _one(self, choices: Sequence[str]) -> str:
        return choices[int(self._random.integers(len(choices)))]


def changed(entity: str, values: Values) -> tuple[Values, str]:
    """A row as it is corrected, and what of it changed."""
    found = dict(values)
    for column, how in columns_of(entity).changed:
        if how.startswith("="):
            found[column] = how[1:]
        else:
            found[column] = str(Decimal(found[column]) + Decimal(values.get(how, how)))
    told = ", ".join(
        f"{name} {values[name]} → {found[name]}" for name in found if found[name] != values[name]
    )
    return found, told or "nothing else"
