"""Each difference between two layers has its name and its amount, and what has none is seen."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Sequence
from decimal import Decimal

import psycopg2.errors
import pytest
from click.testing import CliRunner

from ecommerce_dw import db
from ecommerce_dw.cli import main
from ecommerce_dw.loading import load
from ecommerce_dw.quality import validate
from ecommerce_dw.reconciliation import Finding, one_day
from ecommerce_dw.runs import freeze, open_run
from tests.integration.reconciliation.conftest import Warehouse, land
from tests.integration.reconciliation.shop import DIFFERENCES, ONLY_FILES_KNOW, later_files

ITEM = "source_system = 'ecommerce' and order_item_id = '{}'"
DAY = "source_system = 'ecommerce' and period_type = 'day' and period_start = '2026-03-02'"


def differences(found: Sequence[Finding]) -> dict[tuple[str, str, str, str, str], tuple[Decimal, int]]:
    return {
        (f.source_system, f.entity, f.to_object, f.measure, d.name): (d.value, d.row_count)
        for f in found
        for d in f.differences
    }


def unexplained(found: Sequence[Finding]) -> dict[tuple[str, str], tuple[Decimal, int]]:
    """(later layer's object, measure) → what nothing explains, and rows that are not as expected."""
    return {(f.to_object, f.measure): (f.unexplained, f.mismatches) for f in found if not f.is_explained}


def test_every_difference_has_its_name_and_amount(warehouse: Warehouse) -> None:
    found = warehouse.reconcile()
    assert unexplained(found) == {}
    assert differences(found) == DIFFERENCES
    # from each layer to the next nothing gets lost between the measurements, either
    chain = {
        (f.from_object, f.to_object, f.measure): (f.value_from, f.value_to)
        for f in found
        if f.source_system == "ecommerce"
    }
    items, fact = "raw.ecommerce__order_items", "warehouse.fact_order_items"
    pattern = warehouse.contracts["ecommerce"]["order_items"].layout.pattern
    assert chain[pattern, items, "total"] == (Decimal("267.50"), Decimal("198.50"))
    assert chain[items, "staging.stg_order_items", "total"] == (Decimal("198.50"), Decimal("198.50"))
    assert chain["staging.stg_order_items", fact, "total"] == (Decimal("198.50"), Decimal("171.50"))
    assert chain[fact, "marts_build.sales_summary", "net"] == (Decimal("171.50"), Decimal("150.50"))
    assert chain["warehouse.fact_returns", "marts_build.sales_summary", "refunds"] == (
        Decimal(25),
        Decimal(5),
    )
    # less the refund
    assert chain["marts_build.sales_summary", "marts.sales_summary", "net"][1] == Decimal("145.50")


def test_read_again_the_files_say_the_same_and_more(warehouse: Warehouse) -> None:
    found = warehouse.reconcile(reads_files=True)
    assert unexplained(found) == {}
    assert differences(found) == DIFFERENCES | ONLY_FILES_KNOW


def test_every_entity_with_a_contract_is_there(warehouse: Warehouse) -> None:
    warehouse.reconcile()
    measured = warehouse.execute(
        "select source_system, from_object from ops.reconciliation "
        "union select source_system, to_object from ops.reconciliation"
    )
    delivered = warehouse.execute("select distinct source, entity from raw.load_ledger")
    for source, entity in delivered:
        contract = warehouse.contracts[str(source)][str(entity)]
        assert (source, contract.layout.pattern) in measured
        assert (source, f"raw.{contract.table}") in measured


#: What somebody breaks → (later layer's object, measure) → what is then unexplained, and how many rows.
BROKEN: dict[str, tuple[list[str], dict[tuple[str, str], tuple[str, int]]]] = {
    "a fact is deleted": (
        [f"delete from warehouse.fact_order_items where {ITEM.format('I5')}"],
        {
            ("warehouse.fact_order_items", "rows"): ("-1", 1),
            ("warehouse.fact_order_items", "gross"): ("-20", 1),
            ("warehouse.fact_order_items", "total"): ("-20", 1),
            ("marts_build.sales_summary", "gross"): ("20", 0),
            ("marts_build.sales_summary", "net"): ("20", 0),
            ("marts_build.sales_summary", "total"): ("20", 0),
        },
    ),
    "a refund is changed": (
        [
            "update warehouse.fact_returns set delivered_refund_amount = delivered_refund_amount + 1 "
            "where return_id = 'RT1'"
        ],
        {
            ("warehouse.fact_returns", "refunds"): ("1", 1),
            ("marts_build.sales_summary", "refunds"): ("-1", 0),
        },
    ),
    "an order is deleted": (
        ["delete from warehouse.fact_orders where order_id = 'O5'"],
        {
            ("warehouse.fact_orders", "rows"): ("-1", 1),
            ("warehouse.fact_orders", "shipping"): ("-5", 1),
            ("warehouse.fact_orders", "tax"): ("-2", 1),
            ("warehouse.fact_orders", "total"): ("-12", 1),
            ("marts_build.sales_summary", "rows"): ("1", 0),
            ("marts_build.sales_summary", "shipping"): ("5", 0),
            ("marts_build.sales_summary", "tax"): ("2", 0),
            ("marts_build.sales_summary", "total"): ("7", 0),
        },
    ),
    "a fact is one that nobody delivered": (
        [f"update warehouse.fact_order_items set order_item_id = 'I99' where {ITEM.format('I5')}"],
        {
            # in the sums nothing is missing
            ("warehouse.fact_order_items", "rows"): ("0", 2),
            ("warehouse.fact_order_items", "gross"): ("0", 2),
            ("warehouse.fact_order_items", "discounts"): ("0", 1),
            ("warehouse.fact_order_items", "total"): ("0", 2),
        },
    ),
    "two facts of a day have each other's amounts": (
        [
            "update warehouse.fact_order_items set gross_amount = 50 - gross_amount, "
            "discount_amount = 1.50 - discount_amount, line_total = 48.50 - line_total "
            "where source_system = 'ecommerce' and order_item_id in ('I2', 'I3')"
        ],
        {
            ("warehouse.fact_order_items", "gross"): ("0", 2),
            ("warehouse.fact_order_items", "discounts"): ("0", 2),
            ("warehouse.fact_order_items", "total"): ("0", 2),
        },
    ),
    "a fact belongs to another order": (
        [f"update warehouse.fact_order_items set order_id = 'O3' where {ITEM.format('I3')}"],
        {("warehouse.fact_order_items", "rows"): ("0", 1)},
    ),
    "an amount is changed in raw": (
        ["update raw.ecommerce__order_items set line_total = line_total + 0.01 where order_item_id = 'I5'"],
        {("warehouse.fact_order_items", "total"): ("-0.01", 1)},
    ),
    "a row of raw is deleted": (
        ["delete from raw.ecommerce__payments where payment_id = 'PM1'"],
        {("raw.ecommerce__payments", "rows"): ("-1", 1)},
    ),
    "a row of raw is of no file in effect": (
        ["update raw.ecommerce__payments set _file_id = -1 where payment_id = 'PM1'"],
        {
            ("raw.ecommerce__payments", "rows"): ("0", 2),
            ("raw.ecommerce__payments", "amount"): ("55.50", 1),
        },
    ),
    "a rejected row is forgotten": (
        ["delete from raw.rejected_rows where path = '2010-12-01.csv'"],
        {("raw.online_retail__lines", "rows"): ("-1", 1)},
    ),
    "a version of a customer is deleted": (
        ["delete from warehouse.dim_customers where customer_id = 'C1'"],
        # the second one said the same, and now there is nothing that says it
        {("warehouse.dim_customers", "rows"): ("-2", 2)},
    ),
    "a version of a customer says something else": (
        ["update warehouse.dim_customers set city = 'Bern' where customer_id = 'C2'"],
        {("warehouse.dim_customers", "rows"): ("0", 1)},
    ),
    "a member is inferred that nobody names": (
        ["update warehouse.dim_customers set customer_id = 'C77' where is_inferred"],
        {("warehouse.dim_customers", "rows"): ("1", 1)},
    ),
    "a day of the mart is changed": (
        [
            "update marts_build.sales_summary set net_amount = net_amount - 100, "
            f"gross_amount = gross_amount - 100 where {DAY}"
        ],
        {
            ("marts_build.sales_summary", "gross"): ("-100", 0),
            ("marts_build.sales_summary", "net"): ("-100", 0),
            ("marts_build.sales_summary", "total"): ("-100", 0),
            ("marts_build.customer_summary", "net"): ("100", 0),
            ("marts_build.product_performance", "gross"): ("100", 0),
            ("marts_build.product_performance", "net"): ("100", 0),
            ("marts.sales_summary", "gross"): ("100", 1),
            ("marts.sales_summary", "net"): ("100", 1),
        },
    ),
    "a customer's total is changed": (
        ["update marts_build.customer_summary set net_amount = net_amount + 1 where customer_id = 'C1'"],
        {
            ("marts_build.customer_summary", "net"): ("1", 0),
            ("marts.customer_summary", "net"): ("-1", 1),
        },
    ),
    "a published row is changed": (
        ["update marts.product_performance set net_amount = net_amount + 1 where product_id = 'P1'"],
        {("marts.product_performance", "net"): ("1", 1)},
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_has_no_name_is_unexplained(what: str, warehouse: Warehouse) -> None:
    statements, expected = BROKEN[what]
    warehouse.execute(*statements)
    assert unexplained(warehouse.reconcile()) == {
        step: (Decimal(value), rows) for step, (value, rows) in expected.items()
    }


def test_the_staging_view_must_hold_each_line_once(warehouse: Warehouse) -> None:
    [(definition,)] = warehouse.execute("select rtrim(pg_get_viewdef('staging.stg_payments'), ';')")
    warehouse.execute(
        f"create or replace view staging.stg_payments as select * from ({definition}) as v "
        f"union all (select * from ({definition}) as v where payment_id = 'PM1')"
    )
    assert unexplained(warehouse.reconcile()) == {
        ("staging.stg_payments", "rows"): (1, 1),
        ("staging.stg_payments", "amount"): (Decimal("55.50"), 1),
    }


def test_an_amount_that_was_not_the_files_is_seen_by_reading_the_files(warehouse: Warehouse) -> None:
    """Of an entity that no table of the warehouse repeats, the file alone tells."""
    warehouse.execute("update raw.ecommerce__order_items set line_total = 20 where order_item_id = 'I9'")
    found = unexplained(warehouse.reconcile(reads_files=True))
    assert found["raw.ecommerce__order_items", "total"] == (-1, 1)


@pytest.mark.parametrize("checkpoint", ["warehouse", "marts"])
def test_a_checkpoint_stops_at_what_is_unexplained(checkpoint: str, warehouse: Warehouse) -> None:
    name = f"layer_reconciliation.every difference up to the {checkpoint} has a name"
    warehouse.execute("delete from ops.model_marks where starts_with(model, 'publication:')")
    assert all(
        r.is_success for r in validate(warehouse.settings, checkpoint, "run-1").results if r.name == name
    )
    statements, _ = BROKEN["a fact is deleted"]
    warehouse.execute(*statements)
    summary = validate(warehouse.settings, checkpoint, "run-1")
    [failed] = [result for result in summary.failures if result.name == name]
    assert failed.stops
    assert {(row["to_object"], row["business_date"]) for row in failed.examples} == {
        (
            "warehouse.fact_order_items" if checkpoint == "warehouse" else "marts_build.sales_summary",
            "2026-03-02",
        )
    }
    assert "ecommerce-dw reconcile" in failed.remedy


def test_a_daily_run_measures_the_days_that_were_touched(warehouse: Warehouse) -> None:
    """And leaves what it knows of the others as it was."""
    warehouse.reconcile()
    [(first,)] = warehouse.execute("select max(measurement) from ops.reconciliation")
    for (source, path), content in later_files().items():
        land(warehouse.settings, source, path, content)
    load(warehouse.settings)
    with contextlib.closing(db.connect("owner", settings=warehouse.settings)) as connection:
        open_run(connection, "run-2", business_date=dt.date(2026, 3, 5))
        freeze(connection, "run-2")
    summary = validate(warehouse.settings, "warehouse", "run-2")
    # Nothing was built since: what was loaded is missing, of a new item and of an older order.
    name = "layer_reconciliation.every difference up to the warehouse has a name"
    assert name in {result.name for result in summary.failures}
    days = warehouse.execute(
        "select distinct source_system, business_date::text from ops.reconciliation "
        f"where measurement > {first} and business_date is not null and entity = 'orders'"
    )
    # O2 came on the 2nd and the 3rd, and again on the 5th
    assert sorted(days) == [("ecommerce", f"2026-03-0{day}") for day in (2, 3, 5)]
    missing = warehouse.execute(
        "select to_object, business_date::text, measure, unexplained from ops.reconciliation "
        "where unexplained <> 0 and measure = 'rows' order by 1, 2"
    )
    assert missing == [
        ("warehouse.fact_order_items", "2026-03-05", "rows", Decimal(-1)),
        # O2 is there, in the version before
        ("warehouse.fact_orders", "2026-03-05", "rows", Decimal(-1)),
    ]
    # A person who looks sees what the warehouse has not taken in yet, by its name.
    found = warehouse.reconcile()
    assert unexplained(found) == {}
    waiting = {key[2:4]: value for key, value in differences(found).items() if key[4].startswith("waiting")}
    assert waiting["warehouse.fact_order_items", "rows"][0] == -1
    assert waiting["warehouse.fact_orders", "rows"][0] == -1


def test_one_day_alone_is_as_in_the_whole(warehouse: Warehouse) -> None:
    warehouse.reconcile()
    whole = warehouse.table()
    for day in (dt.date(2026, 3, 2), dt.date(2026, 3, 3), dt.date(2026, 3, 4), dt.date(2010, 12, 1)):
        found = warehouse.reconcile(one_day(warehouse.contracts, day))
        assert unexplained(found) == {}
        assert warehouse.table() == whole


@pytest.fixture
def shell(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """A shell whose settings are the test's."""
    monkeypatch.setattr("ecommerce_dw.commands.reconcile.get_settings", lambda: warehouse.settings)
    return CliRunner()


def test_the_command_prints_the_chain_and_names(shell: CliRunner, warehouse: Warehouse) -> None:
    good = shell.invoke(main, ["reconcile", "--source", "online_retail"])
    assert good.exit_code == 0, good.output
    lines = [line.split() for line in good.output.splitlines()]
    assert ["gross", "15.99", "->", "30.60"] not in lines  # a made-up chain is not what it prints
    assert any(line[:2] == ["cancellation_line", "+5.10"] for line in lines)
    assert any(line[:2] == ["fee", "-18.00"] for line in lines)
    assert (
        "see: select * from warehouse.fact_order_items where source_system = 'online_retail'" in good.output
    )
    assert "ecommerce" not in good.output.replace("ecommerce-dw", "")
    assert "comparisons are explained." in good.output
    warehouse.execute(*BROKEN["a fact is deleted"][0])
    bad = shell.invoke(main, ["reconcile", "--date", "2026-03-02"])
    assert bad.exit_code == 1
    assert "UNEXPLAINED -20.00, 1 rows not as expected: 2026-03-02" in bad.output
    machine = shell.invoke(main, ["reconcile", "--date", "2026-03-02", "--json"])
    assert machine.exit_code == 1
    outcome = json.loads(machine.stdout)
    assert {f["to_object"] for f in outcome if f["unexplained_days"]} == {
        "warehouse.fact_order_items",
        "marts_build.sales_summary",
    }
    assert shell.invoke(main, ["reconcile", "--source", "nobody"]).exit_code == 2


def test_the_views_show_the_chain_to_analysts(warehouse: Warehouse) -> None:
    warehouse.reconcile()
    with (
        contextlib.closing(db.connect("analyst", settings=warehouse.settings)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "select sum(value_from), sum(value_to), sum((named_differences ->> 'cancelled')::numeric), "
            "bool_and(is_explained) from ops.layer_reconciliation where source_system = 'ecommerce' "
            "and from_object = 'warehouse.fact_order_items' and measure = 'net'"
        )
        assert cursor.fetchall() == [(Decimal("171.50"), Decimal("150.50"), Decimal(-20), True)]
        cursor.execute(
            "select see from ops.layer_differences where difference_name = 'orphan_item_waiting' "
            "and measure = 'rows'"
        )
        [(see,)] = cursor.fetchall()
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute(see)  # rows of staging have personal data
    with db.transaction("transformer", settings=warehouse.settings) as cursor:
        cursor.execute(see)  # the query shows the row
        assert [row[1] for row in cursor.fetchall()] == ["I10"]
