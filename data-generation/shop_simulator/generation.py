"""Writing a range of days of a shop into a landing zone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from shop_simulator.landing import deliver, path_of
from shop_simulator.shop import ENTITIES, Shop, ShopDay, find_entity

Progress = Callable[[date, int, int], None]
"""Called after each day with the day, the number of days done and the number of days in all."""


@dataclass(frozen=True)
class EntityCount:
    """What was made of one entity."""

    files_written: int = 0
    files_unchanged: int = 0
    rows: int = 0
    """Data rows of all files, unchanged ones included."""
    bytes: int = 0
    """Size of all files, unchanged ones included."""


@dataclass(frozen=True)
class Generation:
    """What a call of `generate` has made."""

    out: Path
    opening: date
    first: date
    last: date
    entities: Mapping[str, EntityCount]
    """By entity, in the order the files were made."""

    @property
    def days(self) -> int:
        """How many days were made."""
        return (self.last - self.first).days + 1

    @property
    def rows(self) -> int:
        """Data rows of all entities."""
        return sum(count.rows for count in self.entities.values())

    @property
    def bytes(self) -> int:
        """Size of the files of all entities."""
        return sum(count.bytes for count in self.entities.values())


def generate(
    out: Path | str,
    *,
    first: date,
    last: date,
    opening: date | None = None,
    scale: float = 1.0,
    seed: int = 42,
    entities: Sequence[str] | None = None,
    gzip: bool = False,
    progress: Progress | None = None,
) -> Generation:
    """Write the files of the days `first` to `last` of the shop that opened on `opening`.

    `opening` is `first` when not given; `entities` are all when not given. Each file is
    `<out>/<entity>/dt=YYYY-MM-DD/<entity>.csv` (`.csv.gz` with `gzip`) and its bytes depend on seed,
    opening, scale and date alone, so later days can be added by a later call with the same three.
    Files that hold these bytes already are left untouched.

    Raises ValueError for arguments that make no sense and OSError when `out` cannot be written.
    """
    if last < first:
        raise ValueError(f"the last day {last} is before the first day {first}")
    names = list(ENTITIES) if entities is None else list(dict.fromkeys(entities))
    if not names:
        raise ValueError(f"no entity is named; known are {', '.join(ENTITIES)}")
    for name in names:
        find_entity(name)
    shop = Shop(seed, opening or first, scale)
    shop.day(first)  # refuses a first day before the opening, before anything is written
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys([name for name in ENTITIES if name in names], EntityCount())
    days = (last - first).days + 1
    for done in range(1, days + 1):
        day = shop.day(first + timedelta(days=done - 1))
        for name in counts:
            counts[name] = _deliver(counts[name], out, day, name, gzip)
        if progress is not None:
            progress(day.date, done, days)
    return Generation(out, shop.opening, first, last, counts)


def _deliver(count: EntityCount, out: Path, day: ShopDay, name: str, compress: bool) -> EntityCount:
    done = deliver(path_of(out, name, day.date, compress=compress), lambda: day.chunks(name))
    return EntityCount(
        files_written=count.files_written + done.is_changed,
        files_unchanged=count.files_unchanged + (not done.is_changed),
        rows=count.rows + done.rows,
        bytes=count.bytes + done.bytes,
    )
