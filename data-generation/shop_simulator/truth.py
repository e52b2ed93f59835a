"""What is true about the shop and stands in none of its files: for tests and for judging an analysis.

The truth is written to a folder of its own, never into the landing zone, and nothing that loads the files
reads it. An entity adds its daily totals by `Entity.totals`; what is known beside them is a section below.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shop_simulator import csv_text, customers

if TYPE_CHECKING:
    from shop_simulator.shop import Shop

Totals = dict[str, int]
"""What a day's file holds in sum: rows, quantities, and amounts in whole cents (names ending in _cents)."""


@dataclass(frozen=True)
class TruthSection:
    """A part of the truth beside the daily totals."""

    name: str
    make: Callable[["Shop", int], Any]
    """From the shop and its last day (counted from the opening) to what JSON can hold."""


SECTIONS: tuple[TruthSection, ...] = (
    TruthSection("behaviour", lambda shop, last: shop.behaviour.as_dict()),
    TruthSection("catalogue", lambda shop, last: shop.catalogue.truth(last)),
    TruthSection("channels", lambda shop, last: shop.marketing.truth(last)),
)
"""The sections of truth.json in their order."""


CUSTOMER_COLUMNS = (
    "customer_id",
    "purchase_rate",  # lambda, per week
    "dropout_probability",  # p
    "spend_rate",  # nu, per dollar
    "orders",
    "is_alive",
)


def refuse_inside(truth: Path, landing: Path) -> None:
    """Raises ValueError when the truth would lie in the landing zone."""
    if truth.resolve().is_relative_to(landing.resolve()):
        raise ValueError(f"the truth must stay apart from the landing zone: name a folder outside {landing}")


def write_truth(
    folder: Path,
    shop: "Shop",
    first: date,
    last: date,
    totals: Mapping[str, Mapping[str, Totals]],
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write `truth.json` and, for the customers registered by `last`, `customers.csv`.

    `totals` are by entity and date; `more` are sections that are known only after the files were made.
    Raises OSError when the folder cannot be written.
    """
    number = shop.days.number(last)
    truth = {
        "shop": {"seed": shop.seed, "scale": shop.scale, "opening": shop.opening.isoformat()},
        "days": {"first": first.isoformat(), "last": last.isoformat()},
        **{section.name: section.make(shop, number) for section in SECTIONS},
        **(more or {}),
        "totals": totals,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    with (folder / "customers.csv").open("wb") as file:
        file.write(csv_text.header(CUSTOMER_COLUMNS))
        file.writelines(_customers(shop, number))


def _customers(shop: "Shop", day: int) -> Iterator[bytes | bytearray]:
    """CSV lines of what is true about each customer at the end of a day."""
    for known in shop.demand.histories(day):
        columns: list[csv_text.Column] = [
            customers.identifier(known.customer),
            [shop.demand.rate(known.customer).astype("S32")],
            [shop.demand.dropout(known.customer).astype("S32")],
            [shop.orders.spending.rate(known.customer).astype("S32")],
            csv_text.plain(known.orders),
            [csv_text.booleans(known.is_alive)],
        ]
        yield csv_text.render(columns, len(known.customer))
