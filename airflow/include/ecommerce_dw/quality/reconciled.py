"""Reconciliation at the boundaries: measured for what was touched, expected to be explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ecommerce_dw import db
from ecommerce_dw.quality.model import Scope, Suite, no_rows
from ecommerce_dw.reconciliation import Plan, measure, touched_files, whole
from ecommerce_dw.settings import Settings

if TYPE_CHECKING:
    from ecommerce_dw.contracts.model import Contract

_REMEDY = (
    "`ecommerce-dw reconcile --source SOURCE --date DAY` shows the day, step by step. Either somebody "
    "changed rows by hand, or a model is wrong: correct it and build again with "
    "`ecommerce-dw build --full-refresh`."
)


def measure_warehouse(
    settings: Settings,
    connection: db.Connection,
    contracts: Mapping[str, Mapping[str, Contract]],
    scope: Scope,
    orders: str | None,
) -> int:
    """Reconcile the touched days from the file to the warehouse; the number of the measurement.

    Args:
        orders: Condition on `source_system` and `order_id` of a relation `v`: the touched orders. None: all.
    """
    if orders is None:
        plan = whole(contracts)
    else:
        plan = touched_files(connection, contracts, since=scope.since, upto=scope.upto, orders=orders)
    return measure(settings, contracts, plan, run_id=scope.run_id, upto=scope.upto, parts=("warehouse",))


def measure_marts(
    settings: Settings,
    connection: db.Connection,
    contracts: Mapping[str, Mapping[str, Contract]],
    scope: Scope,
) -> int:
    """Reconcile the touched days from the warehouse to `marts_build`; the number of the measurement."""
    facts = ("fact_orders", "fact_order_items", "fact_returns")
    plan = whole(contracts)
    if not scope.is_everything(*facts, "sales_summary") and "sales_summary" in scope.published:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "select t.source_system, array_agg(distinct t.day) from ops.touched as t "
                f"where t.day is not null and ({' or '.join(f'({scope.touched(fact)})' for fact in facts)}) "
                "group by t.source_system"
            )
            plan = Plan({}, {source: frozenset(days) for source, days in cursor if source in contracts})
    return measure(settings, contracts, plan, run_id=scope.run_id, upto=scope.upto, parts=("marts",))


def suite(measurement: int, layer: str) -> Suite:
    """The suite of `ops.reconciliation` for one measurement.

    Args:
        layer: Up to where it went: `warehouse` or `marts`.
    """
    return Suite(
        "layer_reconciliation",
        f"select r.* from ops.reconciliation as r where r.measurement = {measurement}",
        (
            no_rows(
                f"layer_reconciliation.every difference up to the {layer} has a name",
                """
                select source_system, entity, business_date, from_object, to_object, measure, value_from,
                    value_to, explained, unexplained, mismatches
                from batch
                where unexplained <> 0 or mismatches <> 0
                order by abs(unexplained) desc, source_system, business_date, to_object, measure
                """,
                severity="critical",
                meaning="Rows or money are lost, doubled or changed between two layers, and nothing explains "
                "it (see ops.reconciliation).",
                remedy=_REMEDY,
            ),
        ),
    )
