"""Lives of the shops for property tests, generated from the contracts themselves.

A file's rows follow from its contract: types, allowed values, bounds, patterns, references. Keys and
moments come from small pools, so that versions of one key, equal moments, items of other orders and rows
without their parent are common. A new contract joins without a word here.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from random import Random
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any, Literal, TypeAlias

from hypothesis import strategies as st

from ecommerce_dw.contracts.model import Column, Contract

Contracts: TypeAlias = Mapping[str, Mapping[str, Contract]]

#: Over the end of a month.
DAYS = tuple(dt.date(2026, 1, 30) + dt.timedelta(days=n) for n in range(4))
#: Few, some in another month and year.
MOMENTS = ("2025-12-31 23:30:00", *(f"{day} {hour}:00:00" for day in DAYS for hour in ("00", "12")))
#: Different keys of an entity.
KEYS = 6
#: Values of a column that models treat apart.
SPECIAL = {"stock_code": ["POST", "D"]}
#: About the number of statements of a step, to place a kill in it.
STATEMENTS = {"load": 90, "build": 700, "publish": 60}


# ---- files ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, order=True)
class File:
    """A path of the landing zone."""

    source: str
    path: str
    entity: str
    day: dt.date

    def __str__(self) -> str:
        return f"{self.source}/{self.path}"


@dataclasses.dataclass(frozen=True)
class Content:
    """A file's bytes, and what their maker knows of them.

    Attributes:
        bad_at: First lines of the records that break the contract by themselves.
        is_readable: Whether it has the header its contract asks for.
    """

    text: bytes
    bad_at: frozenset[int] = frozenset()
    is_readable: bool = True

    @property
    def sha256(self) -> str:
        """Digest of the bytes, as in the ledger."""
        return hashlib.sha256(self.text).hexdigest()


def files_of(contracts: Contracts) -> list[File]:
    """Every path that a sequence may use: a file and an additional part for each entity and day.

    Where a pattern takes any name, the one without an additional part has no date: its content says it.
    """
    return [
        File(
            source,
            contract.layout.pattern.format(
                date=day, name=f"{entity}-{day}" if part else f"{entity}-{day:%d}", part=part
            ),
            entity,
            day,
        )
        for source, entities in sorted(contracts.items())
        for entity, contract in sorted(entities.items())
        for day in DAYS
        for part in ("", ".fix-1")
    ]


# ---- values --------------------------------------------------------------------------------------------


@cache
def matching(pattern: str, number: int) -> str:
    """The `number`-th of some texts that match a pattern (deterministic, not in any order)."""
    rng = Random(f"{pattern} {number}")
    text = _generate(_parser.parse(pattern), rng)
    assert re.fullmatch(pattern, text), (pattern, text)
    return text


_LETTERS = "0123456789ABCDEFXYZabcxyz.:-"


def _generate(parsed: Any, rng: Random) -> str:
    out = []
    for kind, value in parsed:
        if kind is _constants.LITERAL:
            out.append(chr(value))
        elif kind is _constants.IN:
            out.append(rng.choice([c for c in _LETTERS if _is_in(value, c)] or [chr(value[0][1])]))
        elif kind in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            low, high, inner = value
            out += [_generate(inner, rng) for _ in range(rng.randint(max(low, 0), min(int(high), low + 2)))]
        elif kind is _constants.SUBPATTERN:
            out.append(_generate(value[-1], rng))
        elif kind is _constants.BRANCH:
            out.append(_generate(rng.choice(value[1]), rng))
        elif kind is _constants.NOT_LITERAL or kind is _constants.ANY:
            out.append(rng.choice([c for c in _LETTERS if kind is _constants.ANY or ord(c) != value]))
        else:
            assert kind is _constants.AT, f"{kind} is not known here"
    return "".join(out)


def _is_in(items: Any, character: str) -> bool:
    found, negated = False, False
    for kind, value in items:
        if kind is _constants.NEGATE:
            negated = True
        elif kind is _constants.LITERAL:
            found |= ord(character) == value
        elif kind is _constants.RANGE:
            found |= value[0] <= ord(character) <= value[1]
        else:
            assert kind is _constants.CATEGORY, f"{kind} is not known here"
            is_space = value is _constants.CATEGORY_SPACE and character.isspace()
            is_digit = value is _constants.CATEGORY_DIGIT and character.isdigit()
            found |= is_space or is_digit
    return found is not negated


def _pool_of(column: Column, contract: Contract, entities: Mapping[str, Contract]) -> str | None:
    """Name of the key pool a column draws from: that of its own entity, or of the one it refers to."""
    if column.references:
        return ".".join(column.references)
    if (column.name,) == contract.primary_key:
        return f"{contract.entity}.{column.name}"
    for other in entities.values():
        if (column.name,) == other.primary_key:
            return f"{other.entity}.{column.name}"
    return None


def _value(column: Column, contract: Contract, entities: Mapping[str, Contract], variant: int) -> Any:
    """Strategy of a column's texts that its contract takes."""
    pool = _pool_of(column, contract, entities)
    is_key = column.name in contract.primary_key or column.name in contract.touch_keys
    if column.name == contract.currency_column:
        value: Any = st.just(contract.currency)
    elif column.allowed_values:
        value = st.sampled_from(column.allowed_values)
    elif column.pattern:
        value = st.integers(0, KEYS - 1).map(lambda n: matching(str(column.pattern), n))
    elif pool:
        # one with the mark that joins the parts of a key, and a quotation mark
        names = [f"{pool[:2].upper()}{n}" for n in range(1, KEYS)] + [f"{pool[:2].upper()}|'{KEYS}"]
        value = st.sampled_from(names)
    elif column.type == "text" and is_key:
        value = st.sampled_from([f"{column.name}-{n}" for n in range(KEYS)] + SPECIAL.get(column.name, []))
    elif column.type == "text":
        value = st.just(["Oslo", 'He said "no", twice', " Bergen ", "Čapek\nand sons"][variant % 4])
    elif column.type in ("integer", "bigint"):
        least = int(column.minimum) if column.minimum is not None else -2
        value = st.integers(least, least + 4).map(str)
    elif column.type == "numeric":
        texts = ["10", "2.55", "12.50", "3.0", "0", "-1.5"]
        value = st.sampled_from([t for t in texts if column.minimum is None or Decimal(t) >= column.minimum])
    elif column.type == "boolean":
        value = st.sampled_from(["true", "false"])
    elif column.type == "date":
        value = st.sampled_from([str(day) for day in DAYS])
    else:
        value = st.sampled_from(MOMENTS)
    if column.is_required or column.name in contract.primary_key:
        return value
    return st.one_of(value, value, value, st.just(""))


def _coherent(row: dict[str, str]) -> dict[str, str]:
    """The row with amounts and dates that belong together, as a real shop's mostly do."""
    amounts = ("quantity", "unit_price", "discount_amount", "line_total")
    if all(row.get(name) for name in amounts):
        gross = int(row["quantity"]) * Decimal(row["unit_price"])
        discount = Decimal(row["discount_amount"])
        if gross >= discount:
            row["line_total"] = str(gross - discount)
    if {"order_date", "created_at"} <= set(row):
        row["order_date"] = row["created_at"][:10]
    return row


def _defects(contract: Contract) -> list[tuple[str, Callable[[dict[str, str]], None]]]:
    """What can be wrong with one field of a row under this contract: name, and how it is done."""
    found: list[tuple[str, Callable[[dict[str, str]], None]]] = []

    def put(column: Column, text: str) -> None:
        found.append((f"{column.name}={text!r}", lambda row: row.update({column.name: text})))

    for column in contract.columns:
        if column.is_required:
            put(column, "")
        if column.type in ("integer", "bigint", "numeric"):
            put(column, "many")
            put(column, "0x10")
            if column.minimum is not None:
                put(column, str(column.minimum - 1))
        if column.scale is not None and column.type == "numeric":
            put(column, "1." + "1" * (column.scale + 1))
        if column.type in ("date", "timestamptz"):
            put(column, "2026-02-31")
            put(column, "today")
        if column.allowed_values:
            put(column, "unheard of")
        if column.name == contract.currency_column:
            put(column, "XTS")
    return found


def _field(text: str) -> bytes:
    if any(mark in text for mark in ',"\n'):
        text = '"' + text.replace('"', '""') + '"'
    return text.encode()


@st.composite
def contents(draw: st.DrawFn, contract: Contract, entities: Mapping[str, Contract]) -> Content:
    """A file's bytes; now and then empty, without rows, with a header nobody knows, or with bad rows."""
    kind = draw(st.sampled_from(["rows"] * 21 + ["none", "nothing", "nonsense"]))
    if kind == "nothing":
        return Content(b"", is_readable=False)
    if kind == "nonsense":
        return Content(b"nonsense\n1\n", is_readable=False)
    lines = [b",".join(_field(column.header) for column in contract.columns)]
    bad = set()
    number = 2
    defects = _defects(contract)
    for _ in range(draw(st.integers(1, 6)) if kind == "rows" else 0):
        variant = draw(st.integers(0, 3))
        row = _coherent(
            {
                c.name: draw(_value(c, contract, entities, variant + position))
                for position, c in enumerate(contract.columns)
            }
        )
        damage = draw(st.sampled_from([None] * 30 + ["field", "field", "ragged", "encoding"]))
        if damage == "field":
            draw(st.sampled_from(defects))[1](row)
        if damage in ("ragged", "encoding"):  # of several lines that do not add up each is a record
            row = {name: text.replace("\n", " ") for name, text in row.items()}
        line = b",".join(_field(text) for text in row.values())
        if damage == "ragged":
            line += b",one too many"
        elif damage == "encoding":
            line = b"\xff" + line if line[:1] != b'"' else line[:1] + b"\xff" + line[1:]
        if damage:
            bad.add(number)
        lines.append(line)
        if draw(st.integers(0, 9)) == 9:
            lines.append(b"")  # a blank line is no record
        number = 1 + sum(1 + line.count(b"\n") for line in lines)
    return Content(b"\n".join(lines) + b"\n", frozenset(bad))


# ---- what may happen -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Land:
    """A file lands, or lands with other bytes."""

    file: File
    content: Content

    def __str__(self) -> str:
        text = self.content.text.decode(errors="backslashreplace")
        return f"land {self.file}\n" + "".join(f"      {line}\n" for line in text.splitlines())


@dataclasses.dataclass(frozen=True)
class Again:
    """The same bytes are delivered again."""

    file: File

    def __str__(self) -> str:
        return f"deliver {self.file} again, unchanged"


@dataclasses.dataclass(frozen=True)
class Back:
    """The bytes before the present ones are delivered again."""

    file: File

    def __str__(self) -> str:
        return f"deliver {self.file} as it was before"


@dataclasses.dataclass(frozen=True)
class Decide:
    """A person decides about a file. What cannot be decided in its state is no event."""

    file: File
    what: Literal["accept", "discard", "withdraw"]

    def __str__(self) -> str:
        return f"{self.what} {self.file}"


FileEvent: TypeAlias = Land | Again | Back | Decide


@dataclasses.dataclass(frozen=True)
class Kill:
    """A `kill -9` before a statement: of the process that works, or of the server that works for it.

    Attributes:
        per_mille: Where in the step.
    """

    per_mille: int
    victim: Literal["process", "server"]

    def statement(self, step: str) -> int:
        """Number of the statement before which it happens, from 1; a shorter step is not killed."""
        return 1 + self.per_mille * STATEMENTS[step] // 1000

    def __str__(self) -> str:
        return f"the {self.victim} killed at {self.per_mille} ‰"


def _killed(kill: Kill | None) -> str:
    return f", {kill}" if kill else ""


@dataclasses.dataclass(frozen=True)
class Load:
    """Load what lies there: all, one source's, or up to a date; by one loader or two at once."""

    source: str | None = None
    up_to: dt.date | None = None
    loaders: int = 1
    kill: Kill | None = None

    def __str__(self) -> str:
        what = " ".join(str(part) for part in (self.source, self.up_to) if part)
        return f"load {what or 'all'}{', two at once' if self.loaders == 2 else ''}{_killed(self.kill)}"


@dataclasses.dataclass(frozen=True)
class Build:
    """Freeze and build: both layers, or the warehouse alone (as when its checkpoint stops the run).

    Attributes:
        is_late: What lies there is loaded between the freeze and the build, too.
    """

    layers: tuple[str, ...] = ("warehouse", "marts")
    is_late: bool = False
    kill: Kill | None = None

    def __str__(self) -> str:
        late = ", with a load between freeze and build" if self.is_late else ""
        return f"build {' and '.join(self.layers)}{late}{_killed(self.kill)}"


@dataclasses.dataclass(frozen=True)
class Publish:
    """Publish what was built."""

    kill: Kill | None = None

    def __str__(self) -> str:
        return f"publish{_killed(self.kill)}"


Step: TypeAlias = FileEvent | Load | Build | Publish


@dataclasses.dataclass(frozen=True, repr=False)
class Life:
    """What happens to the shops' files and to the warehouse, and another order of the same files.

    Attributes:
        steps: What happens, in order.
        shuffle: Seed of the other order; what happens to one path keeps its own.
    """

    steps: tuple[Step, ...]
    shuffle: int

    @property
    def kills(self) -> list[Kill]:
        """The kills in it."""
        return [step.kill for step in self.steps if isinstance(step, (Load, Build, Publish)) and step.kill]

    def other_order(self) -> list[FileEvent]:
        """The files' events with the paths permuted."""
        histories: dict[File, list[FileEvent]] = {}
        for step in self.steps:
            if isinstance(step, (Land, Again, Back, Decide)):
                histories.setdefault(step.file, []).append(step)
        turns = [file for file, history in histories.items() for _ in history]
        Random(self.shuffle).shuffle(turns)
        waiting = {file: iter(history) for file, history in histories.items()}
        return [next(waiting[file]) for file in turns]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """As hypothesis prints a failing example."""
        printer.text(repr(self))

    def __repr__(self) -> str:
        lines = [f"{number:3} {step}" for number, step in enumerate(self.steps, 1)]
        return "\n".join([f"(other order: {self.shuffle})", *lines])


def _kills() -> st.SearchStrategy[Kill | None]:
    victims: list[Literal["process", "server"]] = ["process", "process", "process", "server"]
    kill = st.builds(Kill, st.integers(0, 999), st.sampled_from(victims))
    return st.one_of(st.none(), st.none(), kill)


@st.composite
def lives(draw: st.DrawFn, contracts: Contracts, *, least: int = 12, most: int = 28) -> Life:
    """A life of the shops: files that come, come again, are corrected, decided about, with runs between.

    Args:
        least, most: Bounds of the number of events beside the first deliveries and the runs.
    """
    files = files_of(contracts)
    # orders, items and lines are where most things meet
    hubs = ("customers", "products", "orders", "order_items", "lines")
    firsts = [draw(st.sampled_from([f for f in files if f.entity == hub])) for hub in hubs]
    others = draw(st.lists(st.sampled_from(files), min_size=2, max_size=8, unique=True))
    # a few paths, so that things happen to them more than once
    file = st.sampled_from([*firsts, *others, *firsts[2:]])

    def land(file: File) -> st.SearchStrategy[Land]:
        entities = contracts[file.source]
        return st.builds(Land, st.just(file), contents(entities[file.entity], entities))

    kills = _kills()
    loads = st.builds(
        Load,
        st.sampled_from([None, None, *sorted(contracts)]),
        st.sampled_from([None, None, None, *DAYS]),
        st.sampled_from([1, 1, 2]),
        kills,
    )
    layers = st.sampled_from([("warehouse", "marts"), ("warehouse", "marts"), ("warehouse",)])
    builds = st.builds(Build, layers, st.sampled_from([False, False, True]), kills)
    event: st.SearchStrategy[Step] = st.one_of(
        *[file.flatmap(land)] * 9,
        st.builds(Again, file),
        st.builds(Back, file),
        st.builds(Decide, file, st.sampled_from(["accept", "discard", "withdraw"])),
        st.builds(Decide, file, st.just("withdraw")),
        loads,
    )
    steps: list[Step] = [draw(land(first)) for first in firsts]
    steps += draw(st.lists(event, min_size=least, max_size=most))
    # a build costs the most, so there are few of them
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(3, len(steps)))
        run: list[Step] = [draw(loads), draw(builds)]
        if draw(st.booleans()):
            run.append(Publish(draw(kills)))
        steps[place:place] = run
    return Life(tuple(steps), draw(st.integers(0, 2**32)))
