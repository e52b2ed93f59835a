"""A file that comes two months late, a corrected file and a withdrawn customer version change exactly the
rows that they should, in every mart; no other row is even written.

What is expected stands in `changed_rows/<story>.yml`. Each mart has either a sentence that says why nothing
of it changes, or groups of rows: why they change, which rows they are (`rows`: their keys without the source,
or `where`: a condition), and either the `columns` that change or whether they are `added` or `removed`. A row
may be in several groups: what changes of it is all of their columns together. `values` are a few columns
before and after.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest
import yaml

from ecommerce_dw.fingerprint import fingerprint
from ecommerce_dw.loading import ddl, load
from ecommerce_dw.loading.decisions import withdraw
from ecommerce_dw.loading.loader import connect_loader
from ecommerce_dw.publish import publish
from ecommerce_dw.settings import Settings
from tests.support import hand_made_shop
from tests.support.dbt_warehouse import DbtWarehouse, Shop
from tests.support.hand_made_shop import SHOP, as_file, path_of

LAYERS = "tag:layer_warehouse tag:layer_marts"
STORIES = Path(__file__).parent / "changed_rows"

#: What happens to which file: its entity and business date.
LATE = ("orders", dt.date(2025, 11, 12))
CORRECTED = ("order_items", dt.date(2025, 10, 14))
WITHDRAWN = ("customers", dt.date(2025, 10, 20))

#: Another shop's file, with the same customers and days: nothing of it may change.
OTHER_SHOP = """Date,Customer ID,Order ID,Sales
2025-09-03,C03,1,20.00
2025-10-14,C02,2,35.50
2025-11-12,C08,3,12.00
"""


class MartRow(NamedTuple):
    """A row of a mart: its values, and where and by which transaction it was written."""

    values: dict[str, Any]
    written: str


#: The rows of a mart by source and the other columns of its grain.
MartRows: TypeAlias = dict[tuple[str, str], MartRow]
#: What happens to a row: it is added, it is removed, or these columns change.
Change: TypeAlias = str | frozenset[str]


class HandMadeShop:
    """The hand-made shop, loaded, built and published, and what is done to its files."""

    def __init__(self, warehouse: DbtWarehouse, folder: Path) -> None:
        assert warehouse.shop is not None
        self.warehouse = warehouse
        self.settings: Settings = warehouse.settings
        self.template = f"{self.settings.warehouse_db}_hand_made"
        self.landing = folder / "landing"
        self.landed = folder / "landed"
        self.all_contracts = warehouse.shop.contracts
        self.contracts = self.all_contracts[SHOP]
        self.files = hand_made_shop.deliveries()

    def begin(self) -> None:
        """Everything but the late file, published."""
        for (entity, day), rows in self.files.items():
            if (entity, day) != LATE:
                self.land(entity, day, rows)
        other = self.landing / "sales" / "sales.csv"
        other.parent.mkdir()
        other.write_text(OTHER_SHOP, encoding="utf-8")
        # the tables as the loader makes them
        contracts = [contract for entities in self.all_contracts.values() for contract in entities.values()]
        for contract in contracts:
            self.warehouse.query(f"drop table raw.{contract.table} cascade")
        with contextlib.closing(connect_loader(self.settings)) as connection:
            ddl.ensure_tables(connection, contracts)
        self.load()
        self.warehouse.run(select=f"tag:layer_staging {LAYERS}")
        publish(self.settings)
        self.warehouse.close()
        self.warehouse._copy(self.settings.warehouse_db, self.template)
        shutil.copytree(self.landing, self.landed)

    def begin_again(self) -> None:
        """Back to where it was when it had begun."""
        shutil.rmtree(self.landing)
        shutil.copytree(self.landed, self.landing)
        shutil.rmtree(self.settings.home / "journal", ignore_errors=True)
        self.warehouse._copy(self.template, self.settings.warehouse_db)
        self.warehouse.shop = Shop(self.warehouse._connect(), self.settings)

    def land(self, entity: str, day: dt.date, rows: list[dict[str, Any]]) -> None:
        """Put a file of these rows into the landing zone."""
        path = self.landing / SHOP / path_of(self.contracts[entity], day)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_file(self.contracts[entity], rows), encoding="utf-8")

    def load(self) -> int:
        """Load what is new; the number of files that were."""
        summary = load(self.settings)
        assert summary.files_failed == 0, summary.outcomes
        return summary.files_loaded

    def grains(self) -> dict[str, list[str]]:
        """Every mart and the columns of its grain but the source, as the project says."""
        return {
            node.name: [column for column in node.config.unique_key if column != "source_system"]
            for node in self.warehouse.incremental.manifest.nodes.values()
            if node.resource_type == "model" and node.schema == "marts_build"
        }

    def rows(self, mart: str) -> MartRows:
        """All rows of a mart."""
        found = self.warehouse.query(
            f"select source_system, {self._key(mart)}, to_jsonb(mart), concat_ws(' ', ctid, xmin) "
            f"from marts_build.{mart} as mart"
        )
        rows = {(source, key): MartRow(values, written) for source, key, values, written in found}
        assert len(rows) == len(found), mart
        return rows

    def keys(self, mart: str, condition: str) -> set[str]:
        """Keys of this shop's rows of which a condition holds."""
        found = self.warehouse.query(
            f"select {self._key(mart)} from marts_build.{mart} "
            f"where source_system = '{SHOP}' and ({condition})"
        )
        return {key for (key,) in found}

    def _key(self, mart: str) -> str:
        columns = ", ".join(f"coalesce({column}::text, '')" for column in self.grains()[mart])
        return f"concat_ws(' | ', {columns})"

    def prints(self, settings: Settings) -> dict[tuple[str, str], tuple[int, str]]:
        """Rows and checksum of every table that is built."""
        schemas = ("warehouse", "intermediate", "marts_build")
        return {(e.schema, e.table): (e.rows, e.checksum) for e in fingerprint(settings, schemas)}

    def full_prints(self) -> dict[tuple[str, str], tuple[int, str]]:
        """The same of a full refresh."""
        full = self.warehouse.full
        self.warehouse.close()
        self.warehouse._copy(self.settings.warehouse_db, full.settings.warehouse_db)
        self.warehouse.build(full_refresh=True, select=LAYERS, database=full)
        return self.prints(full.settings)


def late_file(shop: HandMadeShop) -> None:
    """The orders of 12 November come in January: O15, the first order of C08. Its items, its payment and the
    visit in which it was placed came in time.
    """
    shop.land(*LATE, shop.files[LATE])
    assert shop.load() == 1


def corrected_file(shop: HandMadeShop) -> None:
    """The items of 14 October come again: O10 of C03 has two of P1 and not three, and none of P2. O11
    is as it was.
    """
    rows = [row for row in shop.files[CORRECTED] if row["order_item_id"] != "O10-2"]
    assert rows[0]["order_item_id"] == "O10-1"
    shop.land(*CORRECTED, [rows[0] | {"quantity": 2, "line_total": 44}, *rows[1:]])
    assert shop.load() == 1


def withdrawn_version(shop: HandMadeShop) -> None:
    """That C02 moved from Berlin to Graz, wants no mail and had come by social media was not true."""
    entity, day = WITHDRAWN
    withdraw(shop.settings, path_of(shop.contracts[entity], day), source=SHOP)


@pytest.fixture(scope="module")
def built_shop(built_once: DbtWarehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandMadeShop]:
    """The shop before anything happens to it."""
    built_once.reset()
    shop = HandMadeShop(built_once, tmp_path_factory.mktemp("hand_made"))
    with pytest.MonkeyPatch.context() as patch:
        for source in shop.all_contracts:
            patch.setenv(f"LANDING_{source.upper()}", str(shop.landing / source))
        shop.begin()
        yield shop
    built_once.server.execute(f"drop database {shop.template} with (force)")


@pytest.fixture
def shop(built_shop: HandMadeShop) -> Iterator[HandMadeShop]:
    """A copy of it for one test."""
    built_shop.begin_again()
    yield built_shop
    built_shop.warehouse.close()


@pytest.mark.slow
@pytest.mark.parametrize("story", [late_file, corrected_file, withdrawn_version])
def test_exactly_these_rows_change(shop: HandMadeShop, story: Callable[[HandMadeShop], None]) -> None:
    expected = yaml.safe_load((STORIES / f"{story.__name__}.yml").read_text(encoding="utf-8"))
    marts = shop.grains()
    tables = shop.warehouse.query("select tablename from pg_tables where schemaname = 'marts_build'")
    assert {name for (name,) in tables} == set(marts)
    assert set(expected) == set(marts), "a mart is missing here, or gone"
    as_of = shop.warehouse.query("select * from intermediate.int_source_as_of order by 1")

    before = {mart: shop.rows(mart) for mart in marts}
    assert all(any(source == SHOP for source, _ in rows) for rows in before.values())
    assert any(source != SHOP for rows in before.values() for source, _ in rows)
    gone = {mart: _rows_of(shop, mart, expected[mart], removed=True) for mart in marts}
    story(shop)
    shop.warehouse.run(select=LAYERS)
    after = {mart: shop.rows(mart) for mart in marts}
    assert shop.warehouse.query("select * from intermediate.int_source_as_of order by 1") == as_of

    wrong: list[str] = []
    for mart in marts:
        groups = gone[mart] + _rows_of(shop, mart, expected[mart], removed=False)
        wrong += _differences(mart, _expected_changes(groups), _changes(before[mart], after[mart]))
        wrong += [
            f"{mart}: {key} did not change and was written again"
            for key in before[mart].keys() & after[mart].keys()
            if before[mart][key].values == after[mart][key].values
            and before[mart][key].written != after[mart][key].written
        ]
        wrong += _wrong_values(mart, groups, before[mart], after[mart])
    assert not wrong, "\n" + "\n".join(wrong)

    published = {
        table.name: (table.inserted, table.updated, table.deleted) for table in publish(shop.settings).tables
    }
    counts = {mart: _counted(_changes(before[mart], after[mart])) for mart in marts}
    assert published == counts
    assert shop.prints(shop.settings) == shop.full_prints()


class Group(NamedTuple):
    """Rows that change for one reason."""

    keys: frozenset[str]
    change: Change
    values: dict[str, tuple[Any, Any]]


def _rows_of(shop: HandMadeShop, mart: str, listed: Any, *, removed: bool) -> list[Group]:
    """The groups that are listed for a mart: those of removed rows, or the others; conditions hold now."""
    assert listed, f"{mart}: say why nothing changes"
    groups = []
    for entry in [] if isinstance(listed, str) else listed:
        assert entry["why"] and len({"columns", "added", "removed"} & entry.keys()) == 1, entry
        assert len({"rows", "where"} & entry.keys()) == 1, entry
        assert set(entry) <= {"why", "rows", "where", "columns", "added", "removed", "values"}, entry
        if ("removed" in entry) is not removed:
            continue
        keys = shop.keys(mart, entry["where"]) if "where" in entry else {str(key) for key in entry["rows"]}
        assert keys, f"{mart}: no row is meant by {entry}"
        change: Change = "added" if "added" in entry else "removed"
        if "columns" in entry:
            change = frozenset(entry["columns"])
        values = {column: (old, new) for column, (old, new) in entry.get("values", {}).items()}
        groups.append(Group(frozenset(keys), change, values))
    return groups


def _expected_changes(groups: list[Group]) -> dict[tuple[str, str], Change]:
    found: dict[tuple[str, str], Change] = {}
    for group in groups:
        for key in group.keys:
            earlier = found.get((SHOP, key), frozenset())
            if isinstance(group.change, frozenset):
                assert isinstance(earlier, frozenset), f"{key} is {earlier}"
                found[SHOP, key] = earlier | group.change
            else:
                assert (SHOP, key) not in found, f"{key} is {group.change} and something else"
                found[SHOP, key] = group.change
    return found


def _changes(before: MartRows, after: MartRows) -> dict[tuple[str, str], Change]:
    found: dict[tuple[str, str], Change] = {}
    for key in before.keys() | after.keys():
        if key not in before or key not in after:
            found[key] = "added" if key in after else "removed"
        elif before[key].values != after[key].values:
            old, new = before[key].values, after[key].values
            found[key] = frozenset(column for column in new if old[column] != new[column])
    return found


def _counted(changes: Mapping[Any, Change]) -> tuple[int, int, int]:
    kinds = [change if isinstance(change, str) else "updated" for change in changes.values()]
    return kinds.count("added"), kinds.count("updated"), kinds.count("removed")


def _differences(mart: str, expected: Mapping[Any, Change], seen: Mapping[Any, Change]) -> list[str]:
    found = []
    for key in sorted(expected.keys() | seen.keys()):
        wanted, got = expected.get(key, frozenset()), seen.get(key, frozenset())
        if wanted == got:
            continue
        if isinstance(wanted, str) or isinstance(got, str):
            found.append(f"{mart}: {key} is {_named(got)}, not {_named(wanted)}")
        else:
            found.append(
                f"{mart}: {key}: not listed {sorted(got - wanted)}, unchanged {sorted(wanted - got)}"
            )
    return found


def _named(change: Change) -> str:
    return change if isinstance(change, str) else f"changed in {sorted(change)}" if change else "unchanged"


def _wrong_values(mart: str, groups: list[Group], before: MartRows, after: MartRows) -> list[str]:
    found = []
    for group in groups:
        for key in group.keys:
            for column, wanted in group.values.items():
                pair = (before.get((SHOP, key)), after.get((SHOP, key)))
                seen = tuple(None if row is None else row.values[column] for row in pair)
                if seen != wanted:
                    found.append(f"{mart}: {key}: {column} was, is {seen}, not {wanted}")
    return found
