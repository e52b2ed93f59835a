"""Every query of the dashboard "Warehouse", as Grafana runs it: role monitor, after four nights."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal

import psycopg2
import pytest
from pydantic import SecretStr

from ecommerce_dw import db
from ecommerce_dw.alerts import TaskFailure, evaluate
from ecommerce_dw.freshness import check_freshness
from ecommerce_dw.platform import database
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.runs import close_run, freeze, open_run
from ecommerce_dw.settings import Settings
from ecommerce_dw.steps import measured
from tests.conftest import settings_for
from tests.support.dbt_warehouse import DbtDatabase
from tests.support.monitoring import targets
from tests.support.raw_rows import RawRows, order
from tests.support.two_shops import load_two_shops

pytestmark = pytest.mark.slow  # a warehouse of four nights

POSTGRES = "grafana-postgresql-datasource"
QUERIES = dict(targets(POSTGRES))
NIGHTS = [dt.date(2026, 3, day) for day in (6, 7, 8, 9)]


@pytest.fixture(scope="module")
def warehouse(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """Four nights of two shops, the last one failed, with something of all that people look for."""
    name = "dashboards"
    folder = tmp_path_factory.mktemp(name)
    postgres.execute(f"create database {name} template {template_database} strategy file_copy")
    settings = settings_for(postgres, name, folder, monitor_password=SecretStr("reads-what-happened"))
    database.set_role_passwords(settings)
    with contextlib.closing(db.connect("owner", settings=settings)) as owner:
        owner.autocommit = True
        raw = RawRows(owner, settings)
        raw.create_tables("ecommerce", "online_retail", "sales")
        load_two_shops(raw)
        for number, night in enumerate(NIGHTS):
            orders = [order(f"N{number}-{n}", f"{night} 12:00:00+00") for n in range(1 + 5 * number)]
            raw.load("ecommerce", "orders", night, orders, rejected=[(99, {"order_id": "X"})])
            with owner.cursor() as cursor:
                cursor.execute(
                    "update raw.load_ledger set run_id = %s where run_id is null", (f"night-{night}",)
                )
            run(settings, night, is_success=night != NIGHTS[-1])
        plant(owner)
        dbt = DbtDatabase(settings, folder / "dbt")
        dbt.parse()
        for command in (("seed",), ("run", "--select", "+path:models/operations")):
            outcome = dbt.invoke("--quiet", *command)
            assert outcome.success, outcome.exception
    yield settings
    database.set_role_passwords(settings.model_copy(update={"monitor_password": SecretStr("")}))


def run(settings: Settings, night: dt.date, *, is_success: bool) -> None:
    run_id = f"night-{night}"
    with contextlib.closing(db.connect("loader", settings=settings)) as connection:
        open_run(connection, run_id, business_date=night)
        for step in ("load", "build_warehouse", "build_marts"):
            with measured(step, run_id, settings) as going:
                going.row_count = 7
        freeze(connection, run_id)
        close_run(
            connection, run_id, is_success=is_success, message=None if is_success else "failed: publish"
        )
    check_freshness(settings, run_id, night + dt.timedelta(days=2))
    failures = [] if is_success else [TaskFailure("publish", "the disk is full")]
    evaluate(settings, run_id, task_failures=failures, channels=[])


def plant(owner: db.Connection) -> None:
    """What other steps leave: publications, a failed expectation, timings, a difference without a name."""
    with owner.cursor() as cursor:
        for night in NIGHTS:
            cursor.execute(
                "insert into ops.publications (run_id, load_id_to, table_name, is_full, rows_inserted, "
                "rows_updated, rows_deleted) values (%s, 1, 'sales_summary', false, 600, 30, 4)",
                (f"night-{night}",),
            )
            cursor.execute(
                "insert into ops.dbt_results values (%s, 'i', 'marts', 'model.ecommerce_dw.sales_summary', "
                "'model', 'success', %s, 10, 0, null, clock_timestamp())",
                (f"night-{night}", 9 if night == NIGHTS[-1] else 1),
            )
        cursor.execute(
            "insert into ops.expectation_results (run_id, checkpoint, suite, name, expectation_type, object, "
            "severity, is_success, unexpected_count, message) values (%s, 'raw', 'orders', 'amounts are "
            "positive', 'between', 'orders', 'critical', false, 3, '3 rows')",
            (f"night-{NIGHTS[-1]}",),
        )
        cursor.execute(
            "insert into ops.reconciliation (source_system, entity, business_date, from_layer, to_layer, "
            "from_object, to_object, measure, value_from, value_to, explained, mismatches, run_id, "
            "measurement) values ('ecommerce', 'orders', %s, 'raw', 'staging', 'raw.orders', 'stg_orders', "
            "'total_amount', 100.00, 98.50, -1.00, 1, 'night', 1)",
            (NIGHTS[-1],),
        )


def ask(settings: Settings, query: str) -> tuple[list[str], list[tuple[object, ...]]]:
    """Names of the columns, and rows, as Grafana asks: its macro filled in, as role monitor."""
    statement = re.sub(
        r"\$__timeFilter\(([^)]*)\)", r"\1 BETWEEN '2026-01-01T00:00:00Z' AND '2100-01-01T00:00:00Z'", query
    )
    assert "$" not in statement
    with (
        contextlib.closing(db.connect("monitor", settings=settings)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        assert cursor.description is not None
        return [column.name for column in cursor.description], cursor.fetchall()


@pytest.mark.parametrize("name", QUERIES)
def test_each_query_shows_what_the_nights_left(warehouse: Settings, name: str) -> None:
    columns, rows = ask(warehouse, QUERIES[name]["rawSql"])
    assert rows, f"{name} shows nothing"
    if QUERIES[name]["format"] == "time_series":
        assert columns[0] == "time" and all(isinstance(row[0], dt.datetime) for row in rows)
        assert rows == sorted(rows, key=lambda row: row[0])  # type: ignore[arg-type, return-value]
        for column, value in zip(columns[1:], rows[-1][1:], strict=True):
            assert isinstance(value, str if column == "metric" else (int, Decimal)), (name, column, value)


def shown(warehouse: Settings, panel: str) -> list[tuple[object, ...]]:
    return ask(warehouse, QUERIES[f"Warehouse: {panel}: A"]["rawSql"])[1]


def test_the_figures_are_those_that_were_planted(warehouse: Settings) -> None:
    assert shown(warehouse, "Unexplained differences") == [(1,)]
    [difference] = shown(warehouse, "From layer to layer")
    assert difference[-4:] == (Decimal("-1.50"), Decimal("-1.00"), Decimal("-0.50"), 1)
    assert shown(warehouse, "Critical incidents") == [(1,)]
    assert "Task failed: ecommerce_etl_pipeline.publish" in {
        row[-1] for row in shown(warehouse, "Open incidents")
    }
    [slower] = shown(warehouse, "Slower than they used to be")
    assert slower[0] == "sales_summary" and slower[5] == Decimal("9.00")
    newest = shown(warehouse, "Runs")[0]
    assert (newest[1], newest[3], newest[-1]) == ("night-2026-03-09", "failed", "failed: publish")
    layers = shown(warehouse, "Rows of each run, by layer")[-1]
    assert layers[1:] == (16, 7, 7, 634)  # raw, warehouse, marts_build, marts


def test_a_dashboard_can_write_nothing(warehouse: Settings) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(warehouse, "delete from ops.incidents returning 1")
