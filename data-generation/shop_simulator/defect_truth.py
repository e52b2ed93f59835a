"""What becomes of a defected shop: what was made wrong where, what is expected of it, and the totals.

The totals are an account of the rows that a consumer should have after everything, kept by a plain rule: of
each file its last delivery; of that the rows nothing is wrong with; of the rows of one key the latest. It
knows of no consumer and reads no landing zone. It keeps the latest row of each key in memory.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from shop_simulator.arrivals import FileDefect
from shop_simulator.defects import COLUMNS, DayFile, Values, columns_of, key_of, split

CSV_COLUMNS = (
    "kind",
    "entity",
    "business_date",
    "file",
    "line_number",
    "key",
    "column",
    "injected",
    "outcome",
    "arrives_on",
    "becomes",
)
"""Columns of defects.csv."""

# Entities whose versions are told apart by their attributes: equal to the one before is no version.
_KEPT_HISTORY = ("customers", "products")


@dataclass(frozen=True, order=True)
class _Version:
    ordering: str
    date: date
    line: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class _Children:
    """Rows that name a parent who is not there."""

    rows: int = 0
    cents: int = 0

    def __add__(self, other: "_Children") -> "_Children":
        return _Children(self.rows + other.rows, self.cents + other.cents)


def cents(amount: str) -> int:
    """An amount of money in whole cents."""
    return int(Decimal(amount) * 100)


class Account:
    """The rows that are there when everything has come."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}
        self._rows: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._cents: dict[str, Counter[str]] = defaultdict(Counter)
        self._latest: dict[str, dict[str, _Version]] = defaultdict(dict)
        self._history: dict[str, dict[str, list[_Version]]] = defaultdict(lambda: defaultdict(list))
        self._named: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._orders_of_rejected_items: set[str] = set()
        self._children: dict[tuple[str, str], dict[str, _Children]] | None = None

    def take(self, file: DayFile) -> None:
        """Take in a file as it stands in the end."""
        entity, columns = file.entity, columns_of(file.entity)
        names = self._names.setdefault(entity, split(file.header))
        place = names.index(columns.ordering) if columns.ordering else None
        for line, row in enumerate(file.rows, start=2):
            if row.is_rejected:
                self._rejected[entity] += 1
                if entity == "order_items" and row.values and row.values["order_id"]:
                    self._orders_of_rejected_items.add(row.values["order_id"])
                continue
            assert row.values is not None
            values = tuple(row.values.values())
            self._rows[entity] += 1
            for name in columns.amounts:
                self._cents[entity][name] += cents(row.values[name])
            for name in columns.references:
                if row.values[name]:
                    self._named[entity, name].add(row.values[name])
            if place is None:
                continue
            key = key_of(entity, row.values)
            version = _Version(values[place], file.day, line, values)
            if entity in _KEPT_HISTORY:
                self._history[entity][key].append(version)
            known = self._latest[entity].get(key)
            if known is None or known < version:
                self._latest[entity][key] = version
        self._children = None

    # ---- what it says ------------------------------------------------------------------------------------

    def has(self, entity: str, key: str) -> bool:
        """Whether a row of that key is there."""
        return key in self._latest[entity]

    def children(self, parent: str, key: str) -> Mapping[str, _Children]:
        """Rows, by entity, whose parent is missing."""
        if self._children is None:
            self._children = self._find_children()
        return self._children.get((parent, key), {})

    def expected(self) -> dict[str, Any]:
        """The totals: by entity what was delivered and what of it counts, and what is to be flagged."""
        return {
            "entities": {
                entity: {
                    "rows": self._rows[entity],
                    "rejected_rows": self._rejected[entity],
                    "cents": dict(self._cents[entity]),
                    "latest_rows": len(self._latest[entity]),
                    "latest_cents": self._latest_cents(entity),
                }
                for entity in self._names
            },
            "orphans": self._orphans(),
            "flagged": self._flagged(),
            "sales": self._sales(),
        }

    def _values(self, entity: str, version: _Version) -> Values:
        return dict(zip(self._names[entity], version.values, strict=True))

    def _every_latest(self, entity: str) -> Iterable[tuple[str, Values]]:
        for key, version in self._latest[entity].items():
            yield key, self._values(entity, version)

    def _latest_cents(self, entity: str) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for _, values in self._every_latest(entity):
            for name in columns_of(entity).amounts:
                sums[name] += cents(values[name])
        return dict(sums)

    def _find_children(self) -> dict[tuple[str, str], dict[str, _Children]]:
        found: dict[tuple[str, str], dict[str, _Children]] = defaultdict(dict)
        for entity in self._names:
            for _, values in self._every_latest(entity):
                for name, parent in columns_of(entity).references.items():
                    key = values[name]
                    if key and parent in self._names and not self.has(parent, key):
                        amounts = columns_of(entity).amounts
                        money = cents(values[amounts[0]]) if amounts else 0
                        before = found[parent, key].get(entity, _Children())
                        found[parent, key][entity] = before + _Children(1, money)
        return dict(found)

    def _orphans(self) -> dict[str, dict[str, int]]:
        """Latest rows whose parent is missing, by entity and column, and their money."""
        found: dict[str, dict[str, int]] = {}
        for entity in self._names:
            columns = columns_of(entity)
            for name, parent in columns.references.items():
                if parent not in self._names:
                    continue
                rows = money = 0
                for _, values in self._every_latest(entity):
                    if values[name] and not self.has(parent, values[name]):
                        rows += 1
                        money += cents(values[columns.amounts[0]]) if columns.amounts else 0
                found[f"{entity}.{name}"] = {"rows": rows, "cents": money}
        return found

    def _lines_of_orders(self) -> dict[str, list[Values]]:
        lines: dict[str, list[Values]] = defaultdict(list)
        for _, values in self._every_latest("order_items"):
            if self.has("orders", values["order_id"]):
                lines[values["order_id"]].append(values)
        return lines

    def _flagged(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {
            entity: {"superseded_version": self._superseded(entity)} for entity in self._names
        }
        for entity, kind, sources in (
            ("customers", "inferred_customer", (("orders", "customer_id"),)),
            ("products", "inferred_product", (("order_items", "product_id"),)),
        ):
            if entity in self._names:
                named = set().union(*(self._named[source] for source in sources))
                found[entity][kind] = sum(not self.has(entity, key) for key in named)
        if "orders" in self._names and "order_items" in self._names:
            lines = self._lines_of_orders()
            items = self._latest["order_items"]
            found["order_items"]["orphan_item_waiting"] = len(items) - sum(map(len, lines.values()))
            found["order_items"]["unknown_cost"] = sum(
                not self.has("products", line["product_id"]) for order in lines.values() for line in order
            )
            found["orders"] |= self._flagged_orders(lines)
            if "payments" in self._names:
                found["payments"] |= self._flagged_payments()
            if "returns" in self._names:
                found["returns"] |= self._flagged_returns(lines)
        if "inventory" in self._names:
            found["inventory"]["stock_mismatch"] = self._broken_stocks()
        orphans = self._orphans()
        for entity, kind, column in (
            ("inventory", "unknown_product", "product_id"),
            ("web_events", "unknown_customer", "customer_id"),
            ("web_events", "unknown_product", "product_id"),
        ):
            if f"{entity}.{column}" in orphans:
                found[entity][kind] = orphans[f"{entity}.{column}"]["rows"]
        return found

    def _flagged_orders(self, lines: Mapping[str, list[Values]]) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for key, order in self._every_latest("orders"):
            total = sum(cents(line["line_total"]) for line in lines.get(key, ()))
            total += cents(order["shipping_cost"]) + cents(order["tax_amount"])
            counts["total_mismatch"] += total != cents(order["total_amount"])
            counts["order_without_items"] += key not in lines
            counts["incomplete_order"] += key in self._orders_of_rejected_items
            counts["guest_order"] += not order["customer_id"]
        return dict(counts)

    def _flagged_payments(self) -> dict[str, int]:
        captured: dict[str, list[int]] = defaultdict(list)
        waiting = 0
        for _, payment in self._every_latest("payments"):
            waiting += not self.has("orders", payment["order_id"])
            if payment["status"] == "captured":
                captured[payment["order_id"]].append(cents(payment["amount"]))
        mismatches = 0
        for key, order in self._every_latest("orders"):
            paid = captured.get(key, [])
            mismatches += len(paid) if sum(paid) != cents(order["total_amount"]) else 0
        return {"orphan_payment_waiting": waiting, "captured_amount_mismatch": mismatches}

    def _flagged_returns(self, lines: Mapping[str, list[Values]]) -> dict[str, int]:
        items = {line["order_item_id"]: line for order in lines.values() for line in order}
        returned: dict[str, list[Values]] = defaultdict(list)
        for _, row in self._every_latest("returns"):
            returned[row["order_item_id"]].append(row)
        counts = Counter({"orphan_return_waiting": 0, "quantity_exceeds_item": 0, "refund_exceeds_item": 0})
        for key, rows in returned.items():
            if key not in items:
                counts["orphan_return_waiting"] += len(rows)
                continue
            if sum(int(row["quantity"]) for row in rows) > int(items[key]["quantity"]):
                counts["quantity_exceeds_item"] += len(rows)
            if sum(cents(row["refund_amount"]) for row in rows) > cents(items[key]["line_total"]):
                counts["refund_exceeds_item"] += len(rows)
        return dict(counts)

    def _broken_stocks(self) -> int:
        """Snapshots that do not follow from the day before; each month begins with a recount."""
        stocks: dict[tuple[str, date], Values] = {
            (row["product_id"], date.fromisoformat(row["snapshot_date"])): row
            for _, row in self._every_latest("inventory")
        }
        broken = 0
        for (product, day), row in stocks.items():
            before = stocks.get((product, day - timedelta(days=1)))
            if before is not None and day.day > 1:
                follows = int(before["on_hand"]) + int(row["received"]) - int(row["sold"])
                broken += follows != int(row["on_hand"])
        return broken

    def _superseded(self, entity: str) -> int:
        if entity not in _KEPT_HISTORY:
            return self._rows[entity] - len(self._latest[entity]) if self._latest[entity] else 0
        names = self._names[entity]
        skipped = {names.index(columns_of(entity).ordering)}
        kept = 0
        for versions in self._history[entity].values():
            by_moment = {version.ordering: version for version in sorted(versions)}
            before = None
            for _, version in sorted(by_moment.items()):
                attributes = [value for n, value in enumerate(version.values) if n not in skipped]
                kept += attributes != before
                before = attributes
        return self._rows[entity] - kept

    def _sales(self) -> dict[str, int]:
        """Sums over the orders that are there, with the items of theirs that are there."""
        if not {"orders", "order_items"} <= set(self._names):
            return {}
        amounts = ("shipping_cents", "tax_cents", "gross_cents", "discount_cents", "cancelled_cents")
        sums = Counter(dict.fromkeys(("orders", "items", *amounts), 0))
        lines = self._lines_of_orders()
        for key, order in self._every_latest("orders"):
            sums["orders"] += 1
            sums["shipping_cents"] += cents(order["shipping_cost"])
            sums["tax_cents"] += cents(order["tax_amount"])
            for line in lines.get(key, ()):
                gross = int(line["quantity"]) * cents(line["unit_price"])
                discount = cents(line["discount_amount"])
                sums["items"] += 1
                sums["gross_cents"] += gross
                sums["discount_cents"] += discount
                if order["order_status"] == "cancelled":
                    sums["cancelled_cents"] += gross - discount
        return dict(sums)


def becomes(found: FileDefect, account: Account, last: date) -> str:
    """What becomes, up to the end of day `last`, of a row with a defect, and of the rows that name it."""
    defect = found.defect
    if found.arrives is not None and found.arrives > last:
        return f"has not come by {last}"
    if defect.outcome != "rejected" or not defect.key or defect.entity not in COLUMNS:
        return ""
    if account.has(defect.entity, defect.key):
        return "another row of this key is there"
    told = ["no row of this key is there"]
    then = "point at an inferred member" if defect.entity in _KEPT_HISTORY else "wait"
    for entity, children in sorted(account.children(defect.entity, defect.key).items()):
        money = f" ({Decimal(children.cents) / 100:.2f})" if columns_of(entity).amounts else ""
        told.append(f"{children.rows} {entity}{money} {then}")
    return "; ".join(told)


def write_defects(
    folder: Path, defects: Iterable[FileDefect], account: Account | None, first: date, last: date
) -> None:
    """Bring `defects.csv` to the defects of the days `first` to `last`; those of other days stay.

    Without an account nothing is said about what becomes of them. Raises OSError when it cannot be written.
    """
    path = folder / "defects.csv"
    rows = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                row
                for row in csv.DictReader(file)
                if not first <= date.fromisoformat(row["business_date"]) <= last
            ]
    for found in defects:
        defect = found.defect
        rows.append(
            {
                "kind": defect.kind,
                "entity": defect.entity,
                "business_date": defect.business_date.isoformat(),
                "file": found.path,
                "line_number": str(found.line or ""),
                "key": defect.key,
                "column": defect.column,
                "injected": defect.injected,
                "outcome": defect.outcome,
                "arrives_on": found.arrives.isoformat() if found.arrives else "",
                "becomes": becomes(found, account, last) if account else "",
            }
        )
    rows.sort(key=lambda row: row["business_date"])
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
