"""Who the shop's customers are on a given day, and a day's new and changed ones."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from shop_simulator import csv_text as csv
from shop_simulator.csv_text import Ints, Piece
from shop_simulator.days import Days, second_of_day
from shop_simulator.marketing import Marketing
from shop_simulator.pools import LOCALE_MIX, Pools
from shop_simulator.randomness import Streams, mixture
from shop_simulator.schedule import ChangeSchedule

COLUMNS = (
    "customer_id",
    "first_name",
    "last_name",
    "email",
    "phone",
    "address",
    "city",
    "state",
    "zip_code",
    "country",
    "registration_date",
    "customer_segment",
    "birth_date",
    "gender",
    "acquisition_channel",
    "marketing_opt_in",
    "updated_at",
)

SEGMENTS = ("Consumer", "Corporate", "Home Office")

_SEGMENT_MIX = mixture(620, 250, 130)
_GENDERS = csv.table(["F", "M", "X", ""])
_GENDER_MIX = mixture(480, 460, 20, 40)
_OPT_IN_SHARE = 0.55
_NO_PHONE_SHARE = 0.03
_NO_BIRTH_DATE_SHARE = 0.06
_DOMAINS = csv.table(["example.com", "example.org", "example.net"])
_BIRTH_START = np.datetime64("1942-01-01", "D")
_BIRTH_DAYS = 23_000  # to the end of 2004
_BIRTH_DATES = (_BIRTH_START + np.arange(_BIRTH_DAYS)).astype("S10")

# Days per block of the change index; every schedule below keeps changes further apart than this.
_BLOCK = 64
_PORTION = 1 << 17


class CustomerBase:
    """All customers the shop ever has, numbered from 0 in the order of registration."""

    def __init__(self, streams: Streams, days: Days, marketing: Marketing) -> None:
        self._days = days
        self._streams = streams
        self._marketing = marketing
        self._channels = csv.table(source.channel for source in marketing.sources)
        self._arrival = streams.lookup("customers/arrival")
        self._changes = {
            "address": ChangeSchedule(streams, "customers/moves", min_gap=400, max_gap=1800, jitter=300),
            "contact": ChangeSchedule(streams, "customers/contact", min_gap=700, max_gap=2800, jitter=600),
            "segment": ChangeSchedule(streams, "customers/segment", min_gap=700, max_gap=3600, jitter=600),
            "opt_in": ChangeSchedule(streams, "customers/opt-in", min_gap=400, max_gap=2400, jitter=300),
        }
        self._registered = np.zeros(0, dtype=np.int64)
        self._block: tuple[int, NDArray[np.int32], NDArray[np.int64]] | None = None

    def count(self, day: int) -> int:
        """How many customers are registered by the end of a day; 0 before the opening (day < 0)."""
        if day < 0:
            return 0
        return int(self._curve(day)[day])

    def registered_on(self, day: int) -> NDArray[np.int64]:
        """The customers who register on a day."""
        return np.arange(self.count(day - 1), self.count(day))

    def registration_day(self, customer: Ints) -> NDArray[np.int64]:
        """The day each customer registers on; customers must exist by some day asked for before."""
        return np.searchsorted(self._registered, customer, side="right")

    def registration_second(self, customer: Ints, day: Ints | int) -> NDArray[np.int32]:
        """Second of the registration day; later numbers register later."""
        end = self._registered[day]
        start = np.where(np.asarray(day) > 0, self._registered[np.maximum(np.asarray(day) - 1, 0)], 0)
        return second_of_day((customer - start + self._arrival.unit(customer)) / (end - start))

    def segment(self, customer: Ints, day: int) -> NDArray[np.int64]:
        """Position in SEGMENTS of each customer's segment on a day, not before the customer's first one."""
        age = day - self.registration_day(customer)
        return self._segment(customer, self._changes["segment"].version(customer, age))

    def place(self, customer: Ints, day: int, pools: Pools) -> NDArray[np.int64]:
        """Position in the pools' places of where each customer lives on a day, not before the first one."""
        moves = self._changes["address"].version(customer, day - self.registration_day(customer))
        return self._place(customer, moves, pools)

    def _place(self, customer: Ints, moves: Ints, pools: Pools) -> NDArray[np.int64]:
        unit = self._streams.lookup("customers/place").unit(customer, moves)
        return pools.places.pick(self.locale(customer), unit)

    def locale(self, customer: Ints) -> NDArray[np.int64]:
        """Position in LOCALES, and so the country, of each customer; it never changes."""
        return _drawn(self._streams.lookup("customers/locale").unit(customer), LOCALE_MIX)

    def _segment(self, customer: Ints, version: Ints) -> NDArray[np.int64]:
        first = _drawn(self._streams.lookup("customers/segment").unit(customer), _SEGMENT_MIX)
        return (first + version) % len(SEGMENTS)

    def changed_on(self, day: int) -> NDArray[np.int64]:
        """The customers registered before a day of whom some attribute changes on it, in rising order."""
        block = day // _BLOCK
        if self._block is None or self._block[0] != block:
            self._block = (block, *self._changes_in_block(block))
        _, change_days, customers = self._block
        start, end = np.searchsorted(change_days, [day, day + 1])
        return np.unique(customers[start:end])

    def totals(self, day: int) -> dict[str, int]:
        """What a day's file holds in sum."""
        return {"new": len(self.registered_on(day)), "changed": len(self.changed_on(day))}

    def chunks(self, day: int, pools: Pools, rows: int) -> Iterator[tuple[bytes | bytearray, int]]:
        """CSV lines of a day's changed and new customers, at most `rows` at a time, with their number."""
        customers = np.concatenate([self.changed_on(day), self.registered_on(day)])
        for start in range(0, len(customers), rows):
            part = customers[start : start + rows]
            yield csv.render(self._columns(part, day, pools), len(part)), len(part)

    def _columns(self, customer: NDArray[np.int64], day: int, pools: Pools) -> list[csv.Column]:
        registered = self.registration_day(customer)
        age = day - registered
        version = {name: schedule.version(customer, age) for name, schedule in self._changes.items()}
        moves, contact = version["address"], version["contact"]

        def unit(name: str, version: Ints | None = None) -> NDArray[np.float64]:
            return self._streams.lookup(f"customers/{name}").unit(customer, version)

        def draw(name: str, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
            return _drawn(unit(name), codes)

        locale = self.locale(customer)
        gender = draw("gender", _GENDER_MIX)
        female = np.where(gender > 1, unit("name") < 0.5, gender == 0)
        first = np.where(
            female,
            pools.women.pick(locale, unit("first name")),
            pools.men.pick(locale, unit("first name")),
        )
        last = pools.surnames.pick(locale, unit("last name"))
        place = self._place(customer, moves, pools)
        street = pools.streets.pick(locale, unit("street", moves))
        domain = (draw("domain", mixture(600, 200, 200)) + contact) % 3
        segment = self._segment(customer, version["segment"])
        opted_in = (unit("opt-in") < _OPT_IN_SHARE) ^ (version["opt_in"] % 2 == 1)
        area = 201 + (unit("area", contact) * 780).astype(np.int64)
        line = (unit("line", contact) * 10_000).astype(np.int64)
        has_phone = unit("has phone") >= _NO_PHONE_SHARE
        birth = _BIRTH_DATES.take((unit("birth") * _BIRTH_DAYS).astype(np.int64))
        # A changed row is stamped at the moment of the change, a new one at the registration.
        changed_second = second_of_day(self._streams.lookup("customers/changed").unit(customer, age))
        second = np.where(age > 0, changed_second, self.registration_second(customer, registered))
        phone: list[Piece] = [b"+1-", *csv.padded(area, 3), b"-555-", *csv.padded(line, 4)]
        return [
            identifier(customer),
            [pools.first_name.take(first)],
            [pools.last_name.take(last)],
            [
                pools.first_ascii.take(first),
                b".",
                pools.last_ascii.take(last),
                *csv.plain(customer + 1),
                b"@",
                _DOMAINS.take(domain),
            ],
            [csv.blanked(csv.joined(phone, len(customer)), has_phone)],
            [pools.address.take(street)],
            [pools.city.take(place)],
            [pools.state.take(place)],
            [pools.zip_code.take(place)],
            [pools.country.take(place)],
            [self._days.iso(registered)],
            [_SEGMENT_TEXT.take(segment)],
            [csv.blanked(birth, unit("has birth") >= _NO_BIRTH_DATE_SHARE)],
            [_GENDERS.take(gender)],
            [self._channels.take(self._marketing.source_of(customer, registered))],
            [csv.booleans(opted_in)],
            self._days.timestamps(np.full(len(customer), day), second),
        ]

    def _curve(self, day: int) -> NDArray[np.int64]:
        """Registered customers by the end of each day, at least up to `day`; a longer curve only adds."""
        self._registered = self._marketing.registered(day)
        return self._registered

    def _changes_in_block(self, block: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Days and customers of all changes in a block of days, ordered by day."""
        first, last = block * _BLOCK, (block + 1) * _BLOCK - 1
        days: list[NDArray[np.int32]] = [np.empty(0, dtype=np.int32)]
        customers: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
        for start in range(0, self.count(last), _PORTION):  # in portions, to bound memory
            portion = np.arange(start, min(start + _PORTION, self.count(last)))
            registered = self.registration_day(portion)
            for schedule in self._changes.values():
                version, age = schedule.latest(portion, last - registered)
                change_day = registered + age
                hit = np.flatnonzero((version > 0) & (change_day >= first))
                days.append(change_day[hit].astype(np.int32))
                customers.append(portion[hit])
        all_days = np.concatenate(days)
        order = np.argsort(all_days, kind="stable")
        return all_days[order], np.concatenate(customers)[order]


def _drawn(unit: NDArray[np.float64], codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    return codes[(unit * len(codes)).astype(np.int64)].astype(np.int64)


def identifier(customer: Ints) -> list[Piece]:
    """customer_id: C and ten digits."""
    return [b"C", *csv.padded(np.asarray(customer) + 1, 10)]


_SEGMENT_TEXT = csv.table(SEGMENTS)
