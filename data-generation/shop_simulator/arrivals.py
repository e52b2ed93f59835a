"""When a defected shop's files come: what is written to the landing zone, and removed from it, day by day."""

import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

from shop_simulator.defects import (
    LOOK_BACK,
    MAX_DELAY,
    Clean,
    DayFile,
    Defect,
    Draw,
    Row,
    Spoiler,
    join,
    key_of,
)
from shop_simulator.defects import changed as changed_row
from shop_simulator.landing import Delivered, deliver, path_of
from shop_simulator.shop import ENTITIES, Shop, find_entity

_KEPT_DAYS = MAX_DELAY + LOOK_BACK + 1
"""Days whose files are in memory: older ones are neither delivered nor looked at any more."""


@dataclass(frozen=True)
class Arrival:
    """One thing that happens to the landing zone."""

    path: str
    """Relative to the landing zone, with `/`."""
    entity: str
    business_date: date
    content: Callable[[], bytes] | None
    """None: the file is removed."""
    file: Callable[[], DayFile] | None = None
    """What a consumer finds in it; None where it finds no file of the day."""
    is_again: bool = False
    """Whether the path was delivered before."""


@dataclass(frozen=True)
class FileDefect:
    """A defect and where it is to be found."""

    defect: Defect
    path: str
    line: int | None
    """Line in the file, the header being line 1; None for what is about the whole file."""
    arrives: date | None
    """When the whole file, or the one that replaces it, is there; None for never."""


@dataclass(frozen=True)
class _Delivery:
    """How a day's file comes."""

    kind: str
    told: str
    steps: tuple[tuple[int, Arrival], ...]
    """Days later, and what happens then."""


_OUTCOMES = {
    "late_file": "warned",
    "redelivered_unchanged": "no effect",
    "redelivered_changed": "superseded",
    "redelivered_changed_back": "superseded",
    "half_written_file": "warned",
    "truncated_file": "rejected",
    "unreadable_file": "refused",
    "missing_day": "warned",
}


class Arrivals:
    """The files of a shop as they come, with defects.

    Any day's arrivals can be asked for alone; they follow from the shop, the rate and the day. Memory holds
    the files of the last few days.

    Raises ValueError for a rate that is not between 0 and 0.2.
    """

    def __init__(self, shop: Shop, rate: float, entities: Sequence[str] | None = None) -> None:
        self.shop = shop
        self.entities = tuple(ENTITIES if entities is None else entities)
        for name in self.entities:
            find_entity(name)
        self._draw = Draw(shop.seed, rate)
        self._clean: OrderedDict[tuple[str, int], Clean] = OrderedDict()
        size = _KEPT_DAYS * len(self.entities)
        self._file = lru_cache(size)(self._make_file)
        self._delivery = lru_cache(size)(self._make_delivery)

    def arrivals(self, day: date, *, entity: str | None = None, last: date | None = None) -> list[Arrival]:
        """What happens on a day, in order: files of days before first.

        With `entity` it is about that one alone; with `last` it leaves out what something else replaces up to
        the end of that day.
        """
        number = self.shop.days.number(day)
        ahead = (last - day).days if last else 0
        found = []
        for age in range(min(MAX_DELAY, number), -1, -1):
            for name in self.entities if entity is None else (entity,):
                steps = self._delivery(name, number - age).steps
                found += [
                    arrival
                    for later, arrival in steps
                    if later == age
                    and not any(age < after <= age + ahead and arrival.path == a.path for after, a in steps)
                ]
        return found

    def in_effect(self, entity: str, business_date: date, last: date) -> DayFile | None:
        """What a consumer that took everything in up to the end of day `last` has of a day's file."""
        number = self.shop.days.number(business_date)
        found = None
        for later, arrival in self._delivery(entity, number).steps:
            if arrival.file is not None and business_date + timedelta(days=later) <= last:
                found = arrival.file
        return found() if found else None

    def defects(self, day: date, entity: str) -> list[FileDefect]:
        """Everything that is wrong with an entity's file of a day and its delivery.

        A missing day is told once, with its first entity.
        """
        number = self.shop.days.number(day)
        path = self._path(entity, day)
        delivery = self._delivery(entity, number)
        if delivery.kind == "missing_day":
            defect = Defect("missing_day", "", day, "", "", "no file of any entity comes", "warned")
            return [FileDefect(defect, "", None, None)] if entity == self.entities[0] else []
        arrives = day + timedelta(days=max(later for later, _ in delivery.steps))
        found = []
        if delivery.kind:
            outcome = _OUTCOMES[delivery.kind]
            defect = Defect(delivery.kind, entity, day, "", "", delivery.told, outcome)  # type: ignore[arg-type]
            found.append(FileDefect(defect, path, None, arrives))
        whole = 1 if delivery.kind in ("truncated_file", "unreadable_file", "half_written_file") else 0
        first = arrives if delivery.kind == "late_file" else day + timedelta(days=whole)
        found += [
            FileDefect(row.defect, path, line, first)
            for line, row in enumerate(self._file(entity, number).rows, start=2)
            if row.defect
        ]
        return found

    def clean_rows(self, entity: str, business_date: date) -> int:
        """Rows of a day's file before anything is done to it."""
        return len(self._clean_file(entity, self.shop.days.number(business_date)).lines)

    # ---- deliveries --------------------------------------------------------------------------------------

    def _make_delivery(self, entity: str, number: int) -> _Delivery:
        kind, (first, second) = self._draw.of_file(entity, number)
        if kind == "missing_day":
            return _Delivery(kind, "", ())
        day = self.shop.days.date(number)
        path = self._path(entity, day)

        def whole(path: str = path, *, is_again: bool = False) -> Arrival:
            return self._arrival(path, lambda: self._file(entity, number), entity, day, is_again)

        if kind == "late_file":
            later = max(first, 2)
            return _Delivery(kind, f"comes {later} days later", ((later, whole()),))
        if kind == "unreadable_file":
            broken = Arrival(path, entity, day, lambda: _in_utf16(self._file(entity, number).content))
            return _Delivery(
                kind, "in UTF-16, in UTF-8 the day after", ((0, broken), (1, whole(is_again=True)))
            )
        if kind == "truncated_file":
            cut = _cut_off(self._file(entity, number))
            if cut is not None:
                half = self._arrival(path, lambda: cut, entity, day)
                told = f"ends within line {len(cut.rows) + 1}, whole the day after"
                return _Delivery(kind, told, ((0, half), (1, whole(is_again=True))))
            kind = "half_written_file"
        if kind == "half_written_file":
            folder, _, name = path.rpartition("/")
            hidden = f"{folder}/{(f'{name}.part', f'_{name}')[number % 2]}"
            half = Arrival(hidden, entity, day, lambda: _first_half(self._file(entity, number).content))
            gone = Arrival(hidden, entity, day, None)
            told = f"half of it as {hidden.rpartition('/')[2]}, whole the day after"
            return _Delivery(kind, told, ((0, half), (1, whole()), (1, gone)))
        if kind in ("redelivered_changed", "redelivered_changed_back"):
            other, told = _corrected(self._file(entity, number))
            if told:
                correction = self._arrival(path, lambda: other, entity, day, True)
                if kind == "redelivered_changed":
                    return _Delivery(kind, told, ((0, whole()), (first, correction)))
                back = whole(is_again=True)
                return _Delivery(
                    kind, f"{told}; then as before", ((0, whole()), (first, correction), (second, back))
                )
            kind = "redelivered_unchanged"
        if kind == "redelivered_unchanged":
            return _Delivery(kind, f"again {first} days later", ((0, whole()), (first, whole(is_again=True))))
        return _Delivery("", "", ((0, whole()),))

    def _arrival(
        self, path: str, file: Callable[[], DayFile], entity: str, day: date, is_again: bool = False
    ) -> Arrival:
        return Arrival(path, entity, day, lambda: file().content, file, is_again)

    def _path(self, entity: str, day: date) -> str:
        return path_of(Path(), entity, day, compress=False).as_posix()

    # ---- content -----------------------------------------------------------------------------------------

    def _make_file(self, entity: str, number: int) -> DayFile:
        clean = self._clean_file(entity, number)
        random, chosen = self._draw.of_rows(entity, number, len(clean.lines))
        earlier = [
            self._that_may_come_again(entity, number - age) for age in range(1, min(LOOK_BACK, number) + 1)
        ]
        return Spoiler(clean, random, chosen, earlier).file()

    def _that_may_come_again(self, entity: str, number: int) -> Clean:
        """A day's rows that come as they are, and stay so."""
        clean = self._clean_file(entity, number)
        kind, _ = self._draw.of_file(entity, number)
        is_out = kind in ("missing_day", "redelivered_changed", "redelivered_changed_back")
        wrong = set(self._draw.of_rows(entity, number, len(clean.lines))[1])
        lines = tuple(line for n, line in enumerate(clean.lines) if n not in wrong and not is_out)
        return Clean(entity, clean.day, clean.header, lines)

    def _clean_file(self, entity: str, number: int) -> Clean:
        """A day's file as the shop has it. A day before the last ones is made again, which takes longer."""
        place = entity, number
        if place not in self._clean:
            day = self.shop.days.date(number)
            self._clean[place] = Clean.parse(entity, day, self.shop.day(day).csv(entity))
            while len(self._clean) > _KEPT_DAYS * len(self.entities):
                self._clean.popitem(last=False)
        return self._clean[place]


def perform(out: Path, arrival: Arrival) -> Delivered | None:
    """Let one thing happen to a landing zone; None where a file was removed.

    What comes again is there with a new modification time, whatever was there before.
    """
    path = out / arrival.path
    if arrival.content is None:
        path.unlink(missing_ok=True)
        return None
    content = arrival.content()
    rows = max(content.count(b"\n") - 1, 0)
    done = deliver(path, lambda: iter([(content, rows)]))
    if arrival.is_again and not done.is_changed:
        os.utime(path)
    return done


def _in_utf16(content: bytes) -> bytes:
    return b"\xff\xfe" + content.decode("utf-8", "replace").encode("utf-16-le")


def _first_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _cut_off(file: DayFile) -> DayFile | None:
    """The first half of a file, its last line cut off after a few fields; None for a file too short."""
    for number in range(len(file.rows) // 2, len(file.rows)):
        row = file.rows[number]
        if row.defect is None and b'"' not in row.text and row.text.count(b",") > 1:
            end = row.text.find(b",") + 1
            last = Row(row.text[:end], None, is_rejected=True)
            kept = _with_sole_keys(file, number)
            return DayFile(file.entity, file.day, file.header, (*kept, last), is_cut_off=True)
    return None


def _with_sole_keys(file: DayFile, end: int) -> Iterator[Row]:
    """The rows up to `end`; one whose key stands again only after that is a row like any other."""
    there = Counter(key_of(file.entity, row.values) for row in file.rows[:end] if row.values)
    for row in file.rows[:end]:
        is_again = row.defect is not None and row.defect.kind == "duplicate_key_in_file"
        is_sole = row.values is not None and there[key_of(file.entity, row.values)] == 1
        yield Row(row.text, row.values) if is_again and is_sole else row


def _corrected(file: DayFile) -> tuple[DayFile, str]:
    """The file with one row changed and, where it has more, its last row left out; and what was done.

    Nothing is told where it has no row that could change. What has a defect stays as and where it is.
    """
    rows = list(file.rows)
    again = {row.defect.key for row in rows if row.defect and row.defect.kind == "duplicate_key_in_file"}
    for number, row in enumerate(rows):
        if row.defect or row.values is None or key_of(file.entity, row.values) in again:
            continue
        values, told = changed_row(file.entity, row.values)
        rows[number] = Row(join(list(values.values())), values)
        told = f"line {number + 2}: {told}"
        last = rows[-1]
        if len(rows) > 2 and number < len(rows) - 1 and last.defect is None and last.values is not None:
            key = key_of(file.entity, last.values)
            if key not in again:
                rows.pop()
                told += f"; {key} left out"
        return DayFile(file.entity, file.day, file.header, tuple(rows)), told
    return file, ""
