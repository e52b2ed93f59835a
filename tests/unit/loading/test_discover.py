"""Which files a pattern names, and what date they are about."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gzip
import os
from pathlib import Path

import pytest

from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.contracts.reader import ContractError, read_contract, read_contracts
from ecommerce_dw.loading.dating import GreatestDate, date_files, greatest_date
from ecommerce_dw.loading.discover import discover, match_path
from ecommerce_dw.loading.landing import LocalLanding
from ecommerce_dw.loading.ledger import Known
from ecommerce_dw.settings import PROJECT_DIR

CONTRACTS = PROJECT_DIR / "airflow" / "include" / "contracts"
HEADER = "Date,Customer ID,Order ID,Sales\n"


@pytest.fixture(scope="module")
def contract() -> Contract:
    return read_contracts(CONTRACTS)["sales"]["sales"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("sales.csv", (None, None)),
        ("my shop.2026.csv", (None, "2026")),
        ("sales_2026-03-05.csv", (dt.date(2026, 3, 5), None)),
        ("2026-03-05.fix-1.csv.gz", (dt.date(2026, 3, 5), "fix-1")),
        ("2026-01-01_2026-03-05.csv", (None, None)),  # a history
        ("sales_2026-02-31.csv", (None, None)),  # no day
        ("order 12026-03-051.csv", (None, None)),  # a number
    ],
)
def test_a_free_name_may_hold_a_date(
    contract: Contract, path: str, expected: tuple[dt.date | None, str | None]
) -> None:
    found = match_path(path, [contract])
    assert found is not None
    assert found[1:] == expected


def test_no_pattern_names_another_ending_or_a_file_in_a_folder(contract: Contract) -> None:
    assert match_path("sales.xlsx", [contract]) is None
    assert match_path("2026/sales.csv", [contract]) is None


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("2026-03-05,C1,1,2\n2026-03-09,C1,2,2\n2026-03-07,C1,3,2\n", GreatestDate(dt.date(2026, 3, 9), 3)),
        ('"2026-03-05",C1,"a,b",2\r\n2026-03-04,C1,1,2\r\n', GreatestDate(dt.date(2026, 3, 5), 2)),
        ("\n2026-03-05,C1,1,many\n", GreatestDate(dt.date(2026, 3, 5), 3)),
        (
            "2026-02-31,C1,1,2\n2027-01-01,C1,1,2,5\n9/9/2026,C1,1,2\n2026-01-02,C1,1,2",
            GreatestDate(dt.date(2026, 1, 2), 5),
        ),
        ("", None),
        ("today,C1,1,2\n", None),
    ],
    ids=["plain", "quoted", "bad amount", "no dates, too many fields", "no rows", "no date"],
)  # fmt: skip
@pytest.mark.parametrize("is_gzip", [False, True])
def test_a_file_without_a_date_in_its_name_is_about_its_greatest_date(
    contract: Contract, tmp_path: Path, rows: str, expected: GreatestDate | None, *, is_gzip: bool
) -> None:
    text = (HEADER + rows).encode()
    (tmp_path / ("sales.csv.gz" if is_gzip else "sales.csv")).write_bytes(
        gzip.compress(text) if is_gzip else text
    )
    [file] = discover(LocalLanding(tmp_path), {"sales": contract}).files
    assert file.business_date is None
    assert greatest_date(file) == expected
    [dated] = date_files(discover(LocalLanding(tmp_path), {"sales": contract}), {}).files
    assert dated.business_date == (expected.date if expected else None)


def test_a_file_longer_than_a_piece_is_read_to_its_end(contract: Contract, tmp_path: Path) -> None:
    rows = [f"2026-03-05,C{number},{number},2.50\n" for number in range(200_000)]
    rows[150_000] = "2026-03-06,C1,1,2\n"
    (tmp_path / "sales.csv").write_text(HEADER + "".join(rows))
    [file] = discover(LocalLanding(tmp_path), {"sales": contract}).files
    assert greatest_date(file) == GreatestDate(dt.date(2026, 3, 6), 150_002)


def test_what_the_ledger_knows_is_not_opened(contract: Contract, tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text(HEADER + "2026-03-05,C1,1,2\n")
    zone = discover(LocalLanding(tmp_path), {"sales": contract})
    [file] = zone.files
    known = Known(
        *(1, 1, "sales", dt.date(2026, 1, 1), "loaded", file.bytes, file.form.modified_at, None),
        *("", "", False, 1),
    )
    [dated] = date_files(zone, {"sales.csv": known}).files
    assert dated.business_date == dt.date(2026, 1, 1), "as the ledger has it"
    os.utime(path, (1, 1))
    [dated] = date_files(discover(LocalLanding(tmp_path), {"sales": contract}), {"sales.csv": known}).files
    assert dated.business_date == dt.date(2026, 3, 5), "looked at again"
    other = dataclasses.replace(known, bytes=file.bytes + 1)
    [dated] = date_files(zone, {"sales.csv": other}).files
    assert dated.business_date == dt.date(2026, 3, 5)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('path: "{name}{part}.csv"', 'path: "{date}{part}.csv"', "businessDateColumn"),
        ("property: businessDateColumn", "property: orderingColumn", "businessDateColumn"),
        ("value: sale_date\n", "value: line_total\n", "must be a required column of type date"),
        ('path: "{name}{part}.csv"', 'path: "{name}{date}{part}.csv"', "once"),
    ],
)
def test_a_free_name_and_the_column_of_its_date_belong_together(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    text = (CONTRACTS / "sales" / "sales.odcs.yaml").read_text()
    assert old in text
    file = tmp_path / "sales" / "sales.odcs.yaml"
    file.parent.mkdir()
    file.write_text(text.replace(old, new))
    with pytest.raises(ContractError, match=problem):
        read_contract(file)
