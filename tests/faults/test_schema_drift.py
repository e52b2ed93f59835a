"""A column that is new, renamed, retyped or gone: the contract's answer, and an alert that names it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator

import psycopg2.extensions
import pytest

from ecommerce_dw import db
from ecommerce_dw.alerts import evaluate
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.quality import validate
from ecommerce_dw.settings import Settings
from tests.faults.bad_files import file_of, row
from tests.faults.conftest import Warehouse
from tests.support.raw_rows import RawRows

FIRST = dt.date(2026, 1, 5)
NAME = "load_ledger.columns of ecommerce are those of its contracts"


@pytest.fixture
def shop(make_settings: Callable[..., Settings]) -> Iterator[Warehouse]:
    """A warehouse of the test's own with a day of orders."""
    settings = make_settings()
    owner: psycopg2.extensions.connection = db.connect("owner", settings=settings)
    owner.autocommit = True
    made = Warehouse(settings, owner, read_contracts(settings.contracts_dir))
    deliver(made, 0, good(made))
    made.load()
    yield made
    owner.close()


def good(shop: Warehouse) -> str:
    """Orders as the contract has them."""
    orders = shop.contracts["ecommerce"]["orders"]
    return file_of(orders, *(row(orders, n) for n in range(20))).decode()


def deliver(shop: Warehouse, day: int, text: str) -> str:
    """Land the orders of a day."""
    path = f"orders/dt={FIRST + dt.timedelta(days=day)}/orders.csv"
    shop.land("ecommerce", path, text.encode())
    return path


def alerts(shop: Warehouse, run: str) -> list[tuple[str, str, str]]:
    """Check what is loaded as a run does: kinds, titles and texts of what people are told."""
    validate(shop.settings, "raw", run)
    before = shop.query("select coalesce(max(alert_id), 0) from ops.alerts")[0][0]
    evaluate(shop.settings, run)
    return shop.query(
        "select kind, title, body from ops.alerts where alert_id > %s order by alert_id", before
    )


def test_files_as_ever_alert_nobody(shop: Warehouse) -> None:
    deliver(shop, 1, good(shop))
    shop.load()
    assert [title for _, title, _ in alerts(shop, "run-1") if "columns" in title] == []


def test_a_new_column_is_left_out_and_people_are_told_once(shop: Warehouse) -> None:
    text = "\n".join(
        line + (",mood" if n == 0 else ",glad") for n, line in enumerate(good(shop).splitlines())
    )
    deliver(shop, 1, text)
    assert shop.load().rows_loaded == 20

    told = [body for _, title, body in alerts(shop, "run-1") if NAME in title]
    assert len(told) == 1
    assert "mood" in told[0]
    assert "contracts diff" in told[0]
    assert [title for _, title, _ in alerts(shop, "run-2") if NAME in title] == []


def test_a_new_column_is_refused_where_the_contract_says_so(shop: Warehouse) -> None:
    orders = dataclasses.replace(
        shop.contracts["ecommerce"]["orders"], extra_columns="refuse", version="2.0.0"
    )
    shop.contracts["ecommerce"]["orders"] = orders
    text = "\n".join(
        line + (",mood" if n == 0 else ",glad") for n, line in enumerate(good(shop).splitlines())
    )
    path = deliver(shop, 1, text)
    assert shop.load().files_refused == 1
    (body,) = [body for _, title, body in alerts(shop, "run-1") if title == f"File refused: ecommerce {path}"]
    assert "'mood', which the contract does not know" in body


def test_a_renamed_required_column_refuses_the_file_and_names_both(shop: Warehouse) -> None:
    path = deliver(shop, 1, good(shop).replace("tax_amount", "Tax Amount", 1))
    assert shop.load().files_refused == 1
    (body,) = [body for _, title, body in alerts(shop, "run-1") if title == f"File refused: ecommerce {path}"]
    assert "Probably renamed: tax_amount to 'Tax Amount'" in body


def test_a_renamed_optional_column_is_null_and_both_names_are_told(shop: Warehouse) -> None:
    deliver(shop, 1, good(shop).replace("payment_method", "paid_by", 1))
    shop.load()
    assert shop.query("select count(payment_method) from raw.ecommerce__orders") == [(20,)]
    (body,) = [body for _, title, body in alerts(shop, "run-1") if NAME in title]
    assert "paid_by" in body
    assert "payment_method" in body


def test_a_removed_optional_column_is_told_once_and_then_usual(shop: Warehouse) -> None:
    without = good(shop).replace("shipping_method,", "", 1).replace(",standard", "")
    deliver(shop, 1, without)
    assert shop.load().rows_loaded == 20
    (body,) = [body for _, title, body in alerts(shop, "run-1") if NAME in title]
    assert "shipping_method" in body
    RawRows(shop.owner, shop.settings).publish()  # what is published is not looked at again
    deliver(shop, 2, without)
    shop.load()
    assert [kind for kind, title, _ in alerts(shop, "run-2") if NAME in title] == ["closed"]


def test_a_retyped_column_refuses_the_file_with_the_values(shop: Warehouse) -> None:
    path = deliver(shop, 1, good(shop).replace("5.25", '"5,25"'))
    assert shop.load().files_refused == 1
    (body,) = [body for _, title, body in alerts(shop, "run-1") if title == f"File refused: ecommerce {path}"]
    assert "20 of 20 rows fail" in body
    assert shop.query("select distinct r.reasons[1] from raw.rejected_rows as r where r.path = %s", path) == [
        ('shipping_cost: invalid input syntax for type numeric: "5,25"',)
    ]
