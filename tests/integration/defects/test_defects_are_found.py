"""A shop whose files go wrong in every way, delivered day by day: every defect is found and named, no good
row is lost, and all totals are those of the truth.

`DEFECTS_TABLE=<file>` appends the table of defects by kind, injected and found, to that file.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ecommerce_dw.settings import Settings
from shop_simulator import Arrivals, Shop, generate
from shop_simulator.defects import KINDS
from tests.support.defected_shop import (
    SOURCE,
    Findings,
    Platform,
    raw_lines,
    read_defects,
    read_expected,
    table_of,
)

OPENING = dt.date(2025, 12, 1)


def cents(amount: object) -> int:
    """An amount in whole cents; half a cent would be an error."""
    whole = Decimal(str(amount or 0)) * 100
    assert whole == int(whole), amount
    return int(whole)


class Story:
    """A shop's life of some days on a platform, and its truth."""

    def __init__(self, settings: Settings, folder: Path, *, seed: int, days: int, scale: float, rate: float):
        self.first, self.last = OPENING, OPENING + dt.timedelta(days=days - 1)
        shop = Shop(seed, OPENING, scale)
        self.arrivals = Arrivals(shop, rate)
        self.platform = Platform(settings, Arrivals(shop, rate))
        self.landing, self.truth = folder / "landing", folder / "truth"
        generate(
            self.landing,
            first=OPENING,
            last=self.last,
            scale=scale,
            seed=seed,
            defects=rate,
            truth=self.truth,
        )
        self.injected = read_defects(self.truth)
        self.expected = read_expected(self.truth)

    def live(self, every: int) -> None:
        """A run each day, the warehouse built and published every some days and at the end."""
        for number in range((self.last - self.first).days + 1):
            day = self.first + dt.timedelta(days=number)
            self.platform.live(day, transforms=number % every == every - 1 or day == self.last)

    def check(self) -> str:
        """Hold what is there against the truth; the table of defects by kind."""
        assert contents(self.platform.settings.landing(SOURCE)) == contents(self.landing)
        self._no_good_row_is_lost()
        self._totals_are_those_of_the_truth()
        # What has not come yet, or came too lately for the day after to say so, is not to be found.
        due = [d for d in self.injected if (d.arrives_on or d.business_date) < self.last]
        findings = Findings(self.platform, self.expected)
        table, missed = table_of(due, findings)
        assert not missed, f"{table}\n\nnot found:\n" + "\n".join(map(str, missed))
        return table

    def _no_good_row_is_lost(self) -> None:
        lines = raw_lines(self.platform)
        lost, surplus = [], []
        for entity in self.arrivals.entities:
            for number in range((self.last - self.first).days + 1):
                day = self.first + dt.timedelta(days=number)
                file = self.arrivals.in_effect(entity, day, self.last)
                if file is None:
                    continue
                path = f"{entity}/dt={day}/{entity}.csv"
                good = {line for line, row in enumerate(file.rows, 2) if not row.is_rejected}
                lost += [f"{path}:{line}" for line in sorted(good - lines.get(path, set()))]
                surplus += [f"{path}:{line}" for line in sorted(lines.pop(path, set()) - good)]
        assert not lost, f"{len(lost)} good rows are lost: {lost[:20]}"
        assert not surplus, f"{len(surplus)} rows are there that should not: {surplus[:20]}"
        assert not lines, f"rows of files that did not come: {sorted(lines)[:20]}"

    def _totals_are_those_of_the_truth(self) -> None:
        assert self._raw_totals() == {
            entity: (totals["rows"], totals["rejected_rows"], totals["cents"])
            for entity, totals in self.expected["entities"].items()
        }
        flags = {
            f"{entity}.{kind}": count
            for entity, kind, count in self.platform.query(
                "select entity, kind, row_count from ops.flagged_rows where source_system = %s", (SOURCE,)
            )
        }
        assert flags == {
            f"{entity}.{kind}": count
            for entity, kinds in self.expected["flagged"].items()
            for kind, count in kinds.items()
            if count
        }
        sales = self.expected["sales"]
        assert self._warehouse_totals() == sales
        assert self._mart_totals() == {name: count for name, count in sales.items() if name != "items"}

    def _raw_totals(self) -> dict[str, tuple[int, int, dict[str, int]]]:
        found = {}
        for entity, totals in self.expected["entities"].items():
            names = list(totals["cents"])
            sums = "".join(f", sum({name})" for name in names)
            rows, *amounts = self.platform.query(f"select count(*){sums} from raw.{SOURCE}__{entity}")[0]
            rejected = self.platform.query(
                "select coalesce(sum(rows_rejected), 0) from raw.load_ledger "
                "where source = %s and entity = %s and is_current",
                (SOURCE, entity),
            )[0][0]
            cents_found = {name: cents(amount) for name, amount in zip(names, amounts, strict=True)}
            found[entity] = (rows, int(rejected), cents_found)
        return found

    def _warehouse_totals(self) -> dict[str, int]:
        return named(
            self.platform,
            """
            select
                (select count(*) from warehouse.fact_orders where source_system = %(source)s) as orders,
                (select sum(shipping_cost) from warehouse.fact_orders where source_system = %(source)s)
                    as shipping_cents,
                (select sum(tax_amount) from warehouse.fact_orders where source_system = %(source)s)
                    as tax_cents,
                count(*) as items,
                sum(gross_amount) as gross_cents,
                sum(discount_amount) as discount_cents,
                sum(cancelled_amount) as cancelled_cents
            from warehouse.fact_order_items
            where source_system = %(source)s
            """,
        )

    def _mart_totals(self) -> dict[str, int]:
        return named(
            self.platform,
            """
            select
                sum(order_count) as orders,
                sum(shipping_amount) as shipping_cents,
                sum(tax_amount) as tax_cents,
                sum(gross_amount) as gross_cents,
                sum(discount_amount) as discount_cents,
                sum(cancelled_amount) as cancelled_cents
            from marts.sales_summary
            where source_system = %(source)s and period_type = 'day'
            """,
        )


def named(platform: Platform, statement: str) -> dict[str, int]:
    """The only row of a query; amounts, whose names end in _cents, in cents."""
    wrapped = f"select to_jsonb(found)::text from ({statement}) as found"
    ((row,),) = platform.query(wrapped.replace("%(source)s", f"'{SOURCE}'"))
    values: dict[str, Any] = json.loads(row, parse_float=Decimal)
    return {name: cents(v) if name.endswith("_cents") else int(v) for name, v in values.items()}


def contents(landing: Path) -> dict[str, bytes]:
    """Path → bytes of the files of a landing zone."""
    return {p.relative_to(landing).as_posix(): p.read_bytes() for p in landing.rglob("*") if p.is_file()}


def tell(table: str, title: str) -> None:
    """Show the table, and append it to the file that DEFECTS_TABLE names."""
    print(f"\n{title}\n{table}")
    if "DEFECTS_TABLE" in os.environ:
        with Path(os.environ["DEFECTS_TABLE"]).open("a", encoding="utf-8") as file:
            file.write(f"{title}\n{table}\n\n")


@pytest.mark.slow
def test_every_defect_of_a_small_shop_is_found(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    story = Story(make_settings(), tmp_path, seed=3, days=24, scale=0.05, rate=0.2)
    assert {defect.kind for defect in story.injected} == set(KINDS)
    story.live(every=12)
    tell(story.check(), "24 days, scale 0.05, rate 20 %, seed 3")


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_defect_of_two_years_is_found(
    make_settings: Callable[..., Settings], tmp_path: Path, seed: int
) -> None:
    story = Story(make_settings(), tmp_path, seed=seed, days=730, scale=1.0, rate=0.02)
    assert {defect.kind for defect in story.injected} == set(KINDS)
    story.live(every=120)
    tell(story.check(), f"730 days, scale 1, rate 2 %, seed {seed}")
