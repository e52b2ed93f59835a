"""Names and places from Faker, made once per shop and then only looked up.

Locales are mixed in small shares so that the files carry non-ASCII text, and every pool is ready-quoted CSV.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from faker import Faker
from numpy.typing import NDArray

from shop_simulator.csv_text import Text, table
from shop_simulator.randomness import Streams, mixture


@dataclass(frozen=True)
class Locale:
    """A Faker locale and how much of it is used."""

    name: str
    country: str
    state: str
    """The Faker method for the state; empty: addresses there have none."""
    size: int
    """Members of the largest pool (addresses); the others are in proportion."""


LOCALES = (
    Locale("en_US", "US", "state_abbr", 1200),
    Locale("de_DE", "DE", "state", 120),
    Locale("fr_FR", "FR", "region", 120),
    Locale("es_ES", "ES", "state", 120),
    Locale("pl_PL", "PL", "", 120),
)
LOCALE_MIX = mixture(850, 50, 40, 40, 20)

_TO_ASCII = str.maketrans({"ß": "ss", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe"})


def ascii_name(name: str) -> str:
    """A name as it stands in an e-mail address: lower-case ASCII letters only, never empty."""
    folded = unicodedata.normalize("NFKD", name.lower().translate(_TO_ASCII))
    return "".join(letter for letter in folded if "a" <= letter <= "z") or "x"


@dataclass(frozen=True)
class Ranges:
    """Where each locale's part of a pool starts and how long it is, by locale number."""

    start: NDArray[np.int64]
    size: NDArray[np.int64]

    def pick(self, locale: NDArray[np.integer], unit: NDArray[np.float64]) -> NDArray[np.int64]:
        """A pool position per row, within the row's locale, for uniform numbers in [0, 1)."""
        position: NDArray[np.int64] = self.start[locale] + (unit * self.size[locale]).astype(np.int64)
        return position


@dataclass(frozen=True)
class Pools:
    """Ready-quoted text to look up; columns of one group (`city` … `country`) share their positions."""

    women: Ranges
    men: Ranges
    first_name: Text
    first_ascii: Text
    surnames: Ranges
    last_name: Text
    last_ascii: Text
    streets: Ranges
    address: Text
    places: Ranges
    city: Text
    state: Text
    zip_code: Text
    country: Text


def make_pools(streams: Streams) -> Pools:
    """The pools of one shop, from its seed alone."""
    women, men, surnames, addresses, places = (_Part() for _ in range(5))
    for number, locale in enumerate(LOCALES):
        fake = Faker(locale.name)
        fake.seed_instance(streams.key(f"pools/{locale.name}"))
        few, many = max(30, locale.size // 4), locale.size
        state: Callable[[], str] = getattr(fake, locale.state) if locale.state else str
        women.add(number, [(fake.first_name_female(),) for _ in range(few)])
        men.add(number, [(fake.first_name_male(),) for _ in range(few)])
        surnames.add(number, [(fake.last_name(),) for _ in range(few)])
        addresses.add(number, [(_one_line(fake.street_address()),) for _ in range(many)])
        places.add(number, [(fake.city(), state(), fake.postcode(), locale.country) for _ in range(few)])
    first = women.column(0) + men.column(0)
    return Pools(
        women=women.ranges(),
        men=men.ranges(offset=len(women.members)),
        first_name=table(first),
        first_ascii=table(map(ascii_name, first)),
        surnames=surnames.ranges(),
        last_name=table(surnames.column(0)),
        last_ascii=table(map(ascii_name, surnames.column(0))),
        streets=addresses.ranges(),
        address=table(addresses.column(0)),
        places=places.ranges(),
        city=table(places.column(0)),
        state=table(places.column(1)),
        zip_code=table(places.column(2)),
        country=table(places.column(3)),
    )


def _one_line(address: str) -> str:
    """An address as people type it: on one line, the flat after a comma."""
    address = " ".join(address.split())
    for flat in (" Apt.", " Suite"):
        address = address.replace(flat, "," + flat)
    return address


class _Part:
    """A pool while it is made."""

    def __init__(self) -> None:
        self.members: list[tuple[str, ...]] = []
        self._starts: list[int] = []
        self._sizes: list[int] = []

    def add(self, locale: int, members: list[tuple[str, ...]]) -> None:
        assert locale == len(self._starts)
        self._starts.append(len(self.members))
        self._sizes.append(len(members))
        self.members.extend(members)

    def ranges(self, offset: int = 0) -> Ranges:
        return Ranges(np.array(self._starts) + offset, np.array(self._sizes))

    def column(self, number: int) -> list[str]:
        return [member[number] for member in self.members]
