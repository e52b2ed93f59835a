"""Writing a range of days of a shop into a landing zone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from shop_simulator.behaviour import Behaviour
from shop_simulator.defected import DefectedShop
from shop_simulator.defects import check_rate
from shop_simulator.landing import Delivered, deliver, path_of
from shop_simulator.shop import ENTITIES, Shop, ShopDay, find_entity
from shop_simulator.truth import Totals, refuse_inside, write_truth

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
    behaviour: Behaviour | None = None,
    defects: float = 0.0,
    truth: Path | str | None = None,
    progress: Progress | None = None,
) -> Generation:
    """Write the files of the days `first` to `last` of the shop that opened on `opening`.

    `opening` is `first` when not given; `entities` are all when not given. Each file is
    `<out>/<entity>/dt=YYYY-MM-DD/<entity>.csv` (`.csv.gz` with `gzip`) and its bytes depend on seed,
    opening, scale, behaviour and date alone, so later days can be added by a later call with the same ones.
    Files that hold these bytes already are left untouched. With `truth`, what is true about these days and
    the shop at their end is written to that folder, which must lie apart from `out`.

    With `defects`, a rate from 0 to 0.2, that share of rows and of files goes wrong. The landing zone then
    has what came up to the end of day `last`, some of it late, twice or never; what comes on these days of
    days before them is written too. The truth says what was made wrong and, from the opening on, what is
    expected of it.

    Raises ValueError for arguments that make no sense and OSError when `out` cannot be written.
    """
    if last < first:
        raise ValueError(f"the last day {last} is before the first day {first}")
    names = list(ENTITIES) if entities is None else list(dict.fromkeys(entities))
    if not names:
        raise ValueError(f"no entity is named; known are {', '.join(ENTITIES)}")
    for name in names:
        find_entity(name)
    check_rate(defects)
    if defects and gzip:
        raise ValueError("defects are made in plain files only: leave out the compression")
    shop = Shop(seed, opening or first, scale, behaviour)
    shop.day(first)  # refuses a first day before the opening, before anything is written
    out = Path(out)
    if truth is not None:
        refuse_inside(Path(truth), out)
    out.mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys([name for name in ENTITIES if name in names], EntityCount())
    totals: dict[str, dict[str, Totals]] = {name: {} for name in counts}
    days = (last - first).days + 1
    defected = None
    if defects:
        defected = DefectedShop(shop, defects, list(counts), first, last, keeps_account=truth is not None)
    for done in range(1, days + 1):
        day = shop.day(first + timedelta(days=done - 1))
        for name in counts:
            if defected is None:
                done_now = [_deliver(out, day, name, gzip)]
                rows = done_now[0].rows
            else:
                done_now = defected.land(out, name, day.date)
                rows = defected.clean_rows(name, day.date)
            counts[name] = _add(counts[name], done_now)
            if truth is not None:
                totals[name][day.date.isoformat()] = {"rows": rows, **day.totals(name)}
        if progress is not None:
            progress(day.date, done, days)
    if truth is not None:
        more = {"defects": defected.write_truth(Path(truth))} if defected else None
        write_truth(Path(truth), shop, first, last, totals, more)
    return Generation(out, shop.opening, first, last, counts)


def _deliver(out: Path, day: ShopDay, name: str, compress: bool) -> Delivered:
    return deliver(path_of(out, name, day.date, compress=compress), lambda: day.chunks(name))


def _add(count: EntityCount, delivered: Sequence[Delivered]) -> EntityCount:
    written = sum(done.is_changed for done in delivered)
    return EntityCount(
        files_written=count.files_written + written,
        files_unchanged=count.files_unchanged + len(delivered) - written,
        rows=count.rows + sum(done.rows for done in delivered),
        bytes=count.bytes + sum(done.bytes for done in delivered),
    )
