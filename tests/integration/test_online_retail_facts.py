"""A real shop's year through the whole pipeline: the facts of its README, from the ledger to the marts.

The files are not part of this repository. The test looks for them in `data/online_retail` of the folder
`ECOMMERCE_DW_SHARED`, or of a folder `shared` beside the checkout, and is skipped without them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest

from ecommerce_dw import db
from ecommerce_dw.fingerprint import TableFingerprint, fingerprint
from ecommerce_dw.pipeline import build_step, check_step, load_step, publish_step
from ecommerce_dw.settings import PROJECT_DIR, Settings
from ecommerce_dw.transform import LAYERS

WHOLE = Path(os.environ.get("ECOMMERCE_DW_SHARED", PROJECT_DIR.parent / "shared")) / "data" / "online_retail"

TOTAL = Decimal("9747747.934")
SALES = Decimal("10271433.060")
CANCELLATIONS = Decimal("-478724.180")
FEES = Decimal("42832.551")
ADJUSTMENTS = Decimal("-87793.497")

#: Lines and money of each kind of line.
LINE_TYPES = {
    "sale": (527_758, SALES),
    "cancellation": (8_704, CANCELLATIONS),
    "fee": (2_189, FEES),
    "adjustment": (743, ADJUSTMENTS),
    "zero_priced": (2_515, Decimal(0)),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WHOLE.is_dir(), reason=f"the whole data set is not in {WHOLE}"),
]


class Warehouse:
    """The warehouse after the pipeline's steps, and its rows."""

    def __init__(self, settings: Settings, connection: psycopg2.extensions.connection) -> None:
        self.settings = settings
        self._connection = connection

    def run(self, run_id: str) -> dict[str, object]:
        """All steps of one run; fails where a step fails. What the load did."""
        loaded = load_step(run_id=run_id, business_date=None, settings=self.settings)
        check_step("raw", run_id=run_id, settings=self.settings)
        for layer in LAYERS:
            build_step(layer, run_id=run_id, settings=self.settings)
            if layer != "staging":
                check_step(layer, run_id=run_id, settings=self.settings)
        publish_step(run_id=run_id, settings=self.settings)
        return loaded

    def fingerprints(self) -> list[TableFingerprint]:
        """The state of every table of the data layers."""
        return fingerprint(self.settings)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query, as the owner."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def row(self, statement: str) -> tuple[Any, ...]:
        """The only row of a query."""
        (row,) = self.rows(statement)
        return row


@pytest.fixture
def warehouse(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    """An empty warehouse whose landing zone is the real shop's."""
    monkeypatch.setenv("LANDING_ONLINE_RETAIL", str(WHOLE))
    with contextlib.closing(db.connect("owner", settings=settings)) as connection:
        connection.autocommit = True
        yield Warehouse(settings, connection)


def test_every_fact_holds_from_the_ledger_to_the_marts(warehouse: Warehouse) -> None:
    loaded = warehouse.run("first")

    assert (loaded["files_loaded"], loaded["files_refused"], loaded["files_failed"]) == (305, 0, 0)
    assert (loaded["rows_loaded"], loaded["rows_rejected"]) == (541_909, 0)
    _check_raw(warehouse)
    _check_staging(warehouse)
    _check_warehouse(warehouse)
    for schema in ("marts_build", "marts"):
        _check_sales_summary(warehouse, schema)
        _check_customer_summary(warehouse, schema)
        _check_product_performance(warehouse, schema)
    _check_reconciliation(warehouse)

    before = warehouse.fingerprints()
    again = warehouse.run("again")
    assert (again["files_loaded"], again["files_skipped"]) == (0, 305)
    assert warehouse.fingerprints() == before


def _check_raw(warehouse: Warehouse) -> None:
    assert warehouse.row(
        "select count(*), sum(rows_read), sum(rows_loaded), sum(rows_rejected), bool_and(status = 'loaded') "
        "from raw.load_ledger"
    ) == (305, 541_909, 541_909, 0, True)
    assert warehouse.row(
        """
        select count(*), sum(quantity * unit_price),
            count(distinct invoice_no),
            count(distinct invoice_no) filter (where invoice_no ~ '^C?[0-9]+$'),
            count(distinct invoice_no) filter (where invoice_no like 'C%'),
            count(distinct invoice_no) filter (where invoice_no like 'A%')
        from raw.online_retail__lines
        """
    ) == (541_909, TOTAL, 25_900, 25_897, 3_836, 3)
    assert warehouse.row(
        """
        select count(*), sum(quantity * unit_price) from raw.online_retail__lines where invoice_no like 'C%'
        """
    ) == (9_288, Decimal("-896812.490"))
    assert warehouse.row(
        """
        select count(distinct customer_id), count(*) filter (where customer_id is null),
            count(*) filter (where description is null), count(distinct country), count(distinct stock_code)
        from raw.online_retail__lines
        """
    ) == (4_372, 135_080, 1_454, 38, 4_070)
    assert warehouse.row(
        """
        select count(*) filter (where quantity < 0),
            count(*) filter (where quantity < 0 and invoice_no not like 'C%'),
            count(*) filter (where unit_price = 0), count(*) filter (where unit_price < 0),
            count(*) - count(distinct (
                invoice_no, stock_code, description, quantity, invoice_date, unit_price, customer_id, country
            )),
            count(*) filter (where (invoice_date at time zone 'Europe/London')::date <> business_date)
        from raw.online_retail__lines
        join raw.load_ledger on file_id = _file_id
        """
    ) == (10_624, 1_336, 2_515, 2, 5_268, 0)


def _check_staging(warehouse: Warehouse) -> None:
    assert {
        row[0]: row[1:]
        for row in warehouse.rows(
            "select line_type, count(*), sum(line_total) from staging.stg_order_items group by 1"
        )
    } == LINE_TYPES
    assert warehouse.rows(
        "select order_type, count(*), sum(total_amount) from staging.stg_orders group by 1 order by 1"
    ) == [
        ("adjustment", 3, Decimal("-11062.060")),
        ("cancellation", 3_836, Decimal("-896812.490")),
        ("sale", 22_061, Decimal("10655622.484")),
    ]
    assert warehouse.row(
        """
        select count(*) filter (where order_id like 'C%'), count(distinct order_item_id),
            count(*) filter (where is_duplicate), count(*) filter (where quantity < 0),
            count(*) filter (where quantity < 0 and order_id not like 'C%'),
            count(distinct product_id)
        from staging.stg_order_items
        """
    ) == (9_288, 541_909, 5_268, 10_624, 1_336, 4_070)
    # The 38th country is seen with guests alone.
    assert warehouse.row(
        "select count(distinct customer_id), count(distinct country) from staging.stg_customers"
    ) == (4_372, 37)
    assert warehouse.row("select count(distinct product_id) from staging.stg_products") == (4_070,)


def _check_warehouse(warehouse: Warehouse) -> None:
    assert warehouse.rows(
        "select order_type, count(*), sum(total_amount), sum(item_count) > 0, bool_or(has_total_mismatch), "
        "bool_or(is_incomplete) from warehouse.fact_orders group by 1 order by 1"
    ) == [
        ("adjustment", 3, Decimal("-11062.0600"), True, False, False),
        ("cancellation", 3_836, Decimal("-896812.4900"), True, False, False),
        ("sale", 22_061, Decimal("10655622.4840"), True, False, False),
    ]
    items = warehouse.rows(
        """
        select line_type, count(*), sum(gross_amount), -sum(cancelled_amount), sum(fee_amount),
            sum(adjustment_amount), sum(line_total), count(*) filter (where is_duplicate),
            count(*) filter (where is_guest), count(cost_amount) filter (where line_type = 'sale')
        from warehouse.fact_order_items
        group by 1
        """
    )
    zero = Decimal(0)
    assert {row[0]: row[1:6] for row in items} == {
        "sale": (527_758, SALES, zero, zero, zero),
        "cancellation": (8_704, zero, CANCELLATIONS, zero, zero),
        "fee": (2_189, zero, zero, FEES, zero),
        "adjustment": (743, zero, zero, zero, ADJUSTMENTS),
        "zero_priced": (2_515, zero, zero, zero, zero),
    }
    assert [sum(row[column] for row in items) for column in (6, 7, 8, 9)] == [TOTAL, 5_268, 135_080, 0]
    assert warehouse.row(
        """
        select count(*) filter (where order_id like 'C%'), sum(line_total) filter (where order_id like 'C%'),
            count(*) filter (where quantity < 0),
            count(*) filter (where quantity < 0 and order_id not like 'C%'),
            count(*) filter (where unit_price = 0), count(*) filter (where unit_price < 0),
            count(distinct product_id)
        from warehouse.fact_order_items
        """
    ) == (9_288, Decimal("-896812.4900"), 10_624, 1_336, 2_515, 2, 4_070)
    for table, key, members in (
        ("dim_customers", "customer_id", 4_372),
        ("dim_products", "product_id", 4_070),
    ):
        assert warehouse.row(
            f"select count(distinct {key}), count(*) filter (where is_current), "
            f"count(*) filter (where is_inferred) from warehouse.{table}"
        ) == (members, members, 0)


def _check_sales_summary(warehouse: Warehouse, schema: str) -> None:
    periods = warehouse.rows(
        f"""
        select period_type, sum(gross_amount), -sum(cancelled_amount), sum(net_amount), sum(fee_amount),
            sum(adjustment_amount), sum(net_amount + fee_amount + adjustment_amount), sum(discount_amount),
            count(margin_amount)
        from {schema}.sales_summary
        group by 1 order by 1
        """
    )
    assert [row[0] for row in periods] == ["day", "month", "quarter", "week"]
    for row in periods:
        parts = (SALES, CANCELLATIONS, SALES + CANCELLATIONS, FEES, ADJUSTMENTS, TOTAL, 0, 0)
        assert row[1:] == parts, row[0]


def _check_customer_summary(warehouse: Warehouse, schema: str) -> None:
    columns = "sum(gross_amount), sum(cancelled_amount), sum(fee_amount), sum(adjustment_amount)"
    count, *sums = warehouse.row(f"select count(*), {columns} from {schema}.customer_summary")
    assert count == 4_372
    # Guests are in the sales and in no customer's.
    known = warehouse.row(f"select {columns} from warehouse.fact_order_items where not is_guest")
    assert tuple(sums) == known


def _check_product_performance(warehouse: Warehouse, schema: str) -> None:
    count, gross, cancelled = warehouse.row(
        f"select count(*), sum(gross_amount), sum(cancelled_amount) from {schema}.product_performance"
    )
    assert (gross, -cancelled) == (SALES, CANCELLATIONS)
    assert count == 4_070  # every stock code, those of fees and adjustments among them


def _check_reconciliation(warehouse: Warehouse) -> None:
    """The way of the money, as an analyst sees it: each difference by its name."""
    chain = warehouse.rows(
        """
        select from_layer, to_layer, measure, sum(value_from), sum(value_to), bool_and(is_explained)
        from ops.layer_reconciliation
        where source_system = 'online_retail' and entity in ('lines', 'order_items')
            and measure in ('total', 'gross', 'net') and to_layer <> 'marts'
        group by 1, 2, 3
        order by 1, 2, 3
        """
    )
    assert [row[:5] for row in chain] == [
        ("file", "raw", "gross", TOTAL, TOTAL),
        ("file", "raw", "total", TOTAL, TOTAL),
        ("raw", "staging", "gross", TOTAL, TOTAL),
        ("raw", "staging", "total", TOTAL, TOTAL),
        ("staging", "warehouse", "gross", TOTAL, SALES),
        ("staging", "warehouse", "total", TOTAL, TOTAL),
        ("warehouse", "marts_build", "gross", SALES, SALES),
        ("warehouse", "marts_build", "net", TOTAL, SALES + CANCELLATIONS),
    ]
    assert all(row[5] for row in chain)
    named = warehouse.rows(
        """
        select measure, difference_name, sum(difference), sum(row_count)
        from ops.layer_differences
        where source_system = 'online_retail' and entity = 'order_items'
        group by 1, 2
        """
    )
    lines, taken_back = LINE_TYPES["cancellation"]
    fees, adjustments = (FEES, LINE_TYPES["fee"][0]), (ADJUSTMENTS, LINE_TYPES["adjustment"][0])
    assert {row[:2]: row[2:] for row in named} == {
        ("gross", "cancellation_line"): (-taken_back, lines),
        ("gross", "fee"): (-fees[0], fees[1]),
        ("gross", "adjustment"): (-adjustments[0], adjustments[1]),
        ("net", "fee"): (-fees[0], fees[1]),
        ("net", "adjustment"): (-adjustments[0], adjustments[1]),
    }
    assert warehouse.row(
        "select count(*), bool_and(is_explained), count(distinct business_date) "
        "from ops.layer_reconciliation where source_system = 'online_retail' "
        "and to_object = 'warehouse.fact_order_items' and measure = 'rows'"
    ) == (305, True, 305)
