"""`ecommerce-dw ingest FILE --source sales`: one plain file from a shell to the published marts.

One warehouse for the module: its tests are a story, told in order.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ecommerce_dw import db
from ecommerce_dw import settings as settings_module
from ecommerce_dw.cli import main
from ecommerce_dw.fingerprint import fingerprint
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.settings import Settings
from tests.conftest import settings_for

FIRST = dt.date(2026, 1, 5)
HEADER = ["Date", "Customer ID", "Order ID", "Sales"]
Line = tuple[dt.date, str, str, Decimal]


def shop_lines(seed: int = 7) -> list[Line]:
    """Four months: orders of several lines, guests, refunds, equal lines, a line of nothing."""
    rng = random.Random(seed)
    lines: list[Line] = []
    for number in range(300):
        day = FIRST + dt.timedelta(days=rng.randrange(125))
        customer = "" if rng.random() < 0.1 else f"C{rng.randrange(60):03}"
        order = [
            (day, customer, f"{number:05}", Decimal(rng.randrange(1, 50_000)) / 100)
            for _ in range(rng.choice([1, 1, 2, 3]))
        ]
        lines += order
        if rng.random() < 0.1:
            back = day + dt.timedelta(days=rng.randrange(20))
            lines.append((back, customer, f"{number:05}", -order[0][3]))
    lines.append(lines[0])  # the same article twice
    lines.append((FIRST, "C001", "90000", Decimal(0)))
    return lines


def write(file: Path, lines: list[Line]) -> None:
    with file.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(HEADER)
        writer.writerows(lines)


@dataclass
class Totals:
    """What an analyst adds up."""

    orders: set[str] = field(default_factory=set)
    gross: Decimal = Decimal(0)
    given_back: Decimal = Decimal(0)

    def add(self, order: str, amount: Decimal) -> None:
        if amount >= 0:
            self.orders.add(order)
            self.gross += amount
        else:
            self.given_back -= amount

    def as_row(self) -> tuple[int, Decimal, Decimal, Decimal]:
        return len(self.orders), self.gross, self.given_back, self.gross - self.given_back


def by_day(lines: list[Line]) -> dict[dt.date, tuple[int, Decimal, Decimal, Decimal]]:
    """Orders, gross, given back and net per day, in exact decimals."""
    totals: dict[dt.date, Totals] = defaultdict(Totals)
    for day, _, order, amount in lines:
        totals[day].add(order, amount)
    return {day: total.as_row() for day, total in totals.items()}


def by_customer(lines: list[Line]) -> dict[str, tuple[int, Decimal]]:
    """Orders and net per customer."""
    totals: dict[str, Totals] = defaultdict(Totals)
    for _, customer, order, amount in lines:
        if customer:
            totals[customer].add(order, amount)
    return {customer: (len(total.orders), total.as_row()[3]) for customer, total in totals.items()}


class Shell:
    """A shell on a warehouse of the module's own."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder

    def ingest(self, file: Path, *options: str) -> Result:
        """`ecommerce-dw ingest FILE --source sales`."""
        return CliRunner().invoke(main, ["ingest", str(file), "--source", "sales", *options])

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a statement as the analyst reads them."""
        connection = db.connect("owner", settings=self.settings)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()
        finally:
            connection.close()

    def days(self) -> dict[dt.date, tuple[int, Decimal, Decimal, Decimal]]:
        """Published days, those on which nothing happened left out."""
        rows = self.query(
            "select period_start, order_count, gross_amount, cancelled_amount, net_amount "
            "from marts.sales_summary where source_system = 'sales' and period_type = 'day'"
        )
        return {day: tuple(values) for day, *values in rows if any(values)}  # type: ignore[misc]

    def customers(self) -> dict[str, tuple[int, Decimal]]:
        """Published customers."""
        rows = self.query(
            "select customer_id, order_count, net_amount from marts.customer_summary "
            "where source_system = 'sales'"
        )
        return {customer: (orders, net) for customer, orders, net in rows}

    def state(self) -> dict[str, tuple[int, str]]:
        """Rows and checksum of every built table."""
        tables = fingerprint(self.settings)
        return {f"{t.schema}.{t.table}": (t.rows, t.checksum) for t in tables}


@pytest.fixture(scope="module")
def shell(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("ingest")
    settings = settings_for(postgres, "ingest", folder / "home")
    postgres.execute("create database ingest")
    migrate(settings)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.environment().items():
            patch.setenv(name, value)
        patch.setenv("ECOMMERCE_DW_HOME", str(settings.home))
        patch.setenv("LANDING_SALES", str(folder / "landing"))
        settings_module.get_settings.cache_clear()
        yield Shell(settings_module.get_settings(), folder)
    settings_module.get_settings.cache_clear()
    postgres.execute("drop database ingest with (force)")


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    return shop_lines()


def assert_published(shell: Shell, lines: list[Line]) -> None:
    expected = {day: row for day, row in by_day(lines).items() if any(row)}
    assert shell.days() == expected
    assert shell.customers() == by_customer(lines)
    [(as_of,)] = shell.query(
        "select max(as_of_date) from marts.customer_summary where source_system = 'sales'"
    )
    assert as_of == max(day for day, *_ in lines)


def test_a_file_that_cannot_be_used_changes_nothing_and_the_message_says_why(shell: Shell) -> None:
    folder = shell.folder
    (folder / "wrong.csv").write_text("Day,Customer ID,Order ID,Sales\n2026-01-05,C1,1,2.50\n")
    (folder / "typo.csv").write_text(
        "Date,Customer ID,Order ID,Sales\n2026-01-05,C1,1,2.50\n2206-01-05,C1,2,1\n"
    )
    (folder / "undated.csv").write_text("Date,Customer ID,Order ID,Sales\n05.01.2026,C1,1,2.50\n")
    (folder / "notes.txt").write_text("nothing")
    for name, part in {
        "absent.csv": "is no file",
        "wrong.csv": "Date",
        "typo.csv": "line 3 has the date 2206-01-05",
        "undated.csv": "no row has a date",
        "notes.txt": "{name}{part}.csv",
    }.items():
        result = shell.ingest(folder / name)
        assert (result.exit_code, part in result.output) == (2, True), result.output
        assert "Nothing was changed." in result.output
    assert "sales" in CliRunner().invoke(main, ["ingest", "x.csv", "--source", "sale"]).output
    assert not (folder / "landing").exists()
    assert shell.query("select count(*) from ops.runs") == [(0,)]


@pytest.mark.slow
def test_a_file_reaches_the_marts_to_the_cent(shell: Shell, lines: list[Line]) -> None:
    file = shell.folder / "sales.csv"
    write(file, lines)
    result = shell.ingest(file, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["rows_read"], summary["rows_loaded"], summary["version"]) == (len(lines), len(lines), 1)
    assert summary["business_date"] == str(max(day for day, *_ in lines))
    assert summary["peak_memory"] > 0 and summary["step_seconds"]["build_marts"] > 0
    assert file.read_bytes() == (shell.folder / "landing" / "sales.csv").read_bytes()
    assert_published(shell, lines)
    [(guests, guest_net)] = shell.query(
        "select sum(guest_order_count), sum(guest_net_amount) from marts.sales_summary "
        "where source_system = 'sales' and period_type = 'day'"
    )
    of_guests = [line for line in lines if not line[1]]
    assert guests == len({order for _, _, order, amount in of_guests if amount >= 0})
    assert guest_net == sum(amount for *_, amount in of_guests)


@pytest.mark.slow
def test_tables_without_rows_of_it_are_named_with_the_reason(shell: Shell) -> None:
    empty = set()
    for (table,) in shell.query(
        "select table_name from information_schema.columns "
        "where table_schema = 'marts' and column_name = 'source_system'"
    ):
        [(rows,)] = shell.query(f"select count(*) from marts.{table} where source_system = 'sales'")
        empty |= {table} if rows == 0 else set()
    named = dict(shell.query("select table_name, reason from ops.unfed_tables where source_system = 'sales'"))
    assert set(named) == empty
    assert named["product_performance"] == "The files of sales have no products"
    assert shell.query("select count(*) from ops.unfed_tables where source_system <> 'sales'") == [(0,)]


@pytest.mark.slow
def test_the_same_bytes_change_nothing(shell: Shell) -> None:
    before = shell.state()
    result = shell.ingest(shell.folder / "sales.csv")
    assert result.exit_code == 0, result.output
    assert "unchanged, version 1" in result.output and "Published: nothing changed" in result.output
    assert shell.state() == before


@pytest.mark.slow
def test_a_correction_touches_the_days_it_leaves_and_the_days_it_comes_to(
    shell: Shell, lines: list[Line]
) -> None:
    """Lines go, move to another day or customer, come; the greatest date moves, too."""
    last = max(day for day, *_ in lines)
    corrected = [line for number, line in enumerate(lines) if number % 17]
    day, customer, order, amount = corrected[3]
    corrected[3] = (day - dt.timedelta(days=2), customer, order, amount)
    corrected[40:42] = [(d, "C777", o, a) for d, _, o, a in corrected[40:42]]
    corrected = [line for line in corrected if line[0] != last]
    corrected.append((FIRST - dt.timedelta(days=40), "C500", "A-1", Decimal("19.99")))
    one_day_each = {}
    for d, _, o, a in sorted(corrected, key=lambda line: line[0]):
        if a >= 0:
            one_day_each.setdefault(o, d)
    corrected = [(one_day_each[o] if a >= 0 else d, c, o, a) for d, c, o, a in corrected]
    whose = {o: c for _, c, o, _ in corrected}
    corrected = [(d, whose[o], o, a) for d, _, o, a in corrected]
    write(shell.folder / "sales.csv", corrected)
    result = shell.ingest(shell.folder / "sales.csv")
    assert result.exit_code == 0, result.output
    assert "corrected, version 2" in result.output
    assert_published(shell, corrected)
    lines[:] = corrected


@pytest.mark.slow
def test_a_file_of_one_day_joins_and_bad_rows_are_named_with_their_line(
    shell: Shell, lines: list[Line]
) -> None:
    day = dt.date(2026, 4, 20)
    file = shell.folder / f"sales_{day}.csv"
    write(file, [(day, "C001", "D-1", Decimal("5.10")), (day, "C900", "D-2", Decimal("0.05"))])
    with file.open("a") as target:
        target.write(f"{day},C001,D-3,many\n{day},C001,,7\n")
    result = shell.ingest(file)
    assert result.exit_code == 0, result.output
    assert f"about {day}" in result.output
    assert "4 rows read, 2 loaded, 2 rejected" in result.output
    assert "line 4: line_total" in result.output and "line 5: order_id" in result.output
    good = [(day, "C001", "D-1", Decimal("5.10")), (day, "C900", "D-2", Decimal("0.05"))]
    assert_published(shell, [*lines, *good])


@pytest.mark.slow
def test_a_file_of_bad_rows_is_refused_and_what_is_published_stays(shell: Shell) -> None:
    before = shell.state()
    file = shell.folder / "bad.csv"
    rows = "".join(f"2026-02-0{n % 9 + 1},C1,B{n},?\n" for n in range(30))
    file.write_text("Date,Customer ID,Order ID,Sales\n" + rows)
    result = shell.ingest(file)
    assert result.exit_code == 1, result.output
    assert "bad.csv is refused" in result.output and "line 2: line_total" in result.output
    assert "ecommerce-dw discard bad.csv" in result.output
    assert shell.state() == before
