"""One measurement: the steps that a plan asks for, in one snapshot of the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import psycopg2.extensions

from ecommerce_dw import db
from ecommerce_dw.reconciliation import files, marts
from ecommerce_dw.reconciliation.comparison import Comparisons
from ecommerce_dw.reconciliation.differences import see
from ecommerce_dw.reconciliation.plan import WAREHOUSE_KEYS, Contracts, Plan
from ecommerce_dw.reconciliation.warehouse import EVENTS, SourceWarehouse
from ecommerce_dw.settings import Settings

#: `warehouse`: file → raw → staging → warehouse. `marts`: warehouse → marts_build. `published`: → marts.
Part = Literal["warehouse", "marts", "published"]
STEPS: tuple[Part, ...] = ("warehouse", "marts", "published")

_TABLES = ("dim_customers", "dim_products", "fact_orders", "fact_order_items", "fact_returns")


@dataclass(frozen=True)
class NamedDifference:
    """A named part of a difference: its value (what the next layer has more), its rows, where they are."""

    name: str
    value: Decimal
    row_count: int
    meaning: str
    see: str


@dataclass(frozen=True)
class Finding:
    """One measure of one step, added up over the measured days.

    Attributes:
        from_object, to_object: What was compared: a pattern of files, tables, views.
        mismatches: Rows that are not as expected, whatever the sums.
        differences: What explains the difference, largest first.
        unexplained: What nothing explains; 0 where all is well.
        unexplained_days: Days on which something is unexplained or mismatched, as text.
    """

    source_system: str
    entity: str
    from_layer: str
    to_layer: str
    from_object: str
    to_object: str
    measure: str
    value_from: Decimal
    value_to: Decimal
    unexplained: Decimal
    mismatches: int
    unexplained_days: tuple[str, ...]
    differences: tuple[NamedDifference, ...]

    @property
    def is_explained(self) -> bool:
        """Whether every difference has a name and every row is as expected, on each day by itself."""
        return not self.unexplained_days


def measure(
    settings: Settings,
    contracts: Contracts,
    plan: Plan,
    *,
    run_id: str,
    upto: int,
    parts: Sequence[Part] = STEPS,
    reads_files: bool = False,
) -> int:
    """Reconcile what a plan names and keep the outcome in `ops.reconciliation`.

    Args:
        run_id: Kept with the outcome.
        upto: Greatest load id the warehouse is expected to have taken in (see `taken_in`).
        parts: Which steps.
        reads_files: Read the landed files again, for records and amounts apart from the loader's.

    Returns:
        The number of the measurement, for `findings`.
    """
    connection = db.connect("transformer", settings=settings, application_name="ecommerce-dw: reconcile")
    try:
        # One after the other; and all layers in one snapshot, whoever loads meanwhile.
        connection.autocommit = True
        with connection.cursor() as cursor:
            db.advisory_locks(
                cursor, [db.RECONCILIATION_LOCK], "lock of the reconciliation", settings, until="session"
            )
        connection.set_session(isolation_level="REPEATABLE READ", autocommit=False)
        with connection, connection.cursor() as cursor:
            # Half a million lines are joined and sorted: in memory.
            cursor.execute("set local work_mem = '128MB'")
            comparisons = Comparisons(cursor)
            existing = _existing(cursor)
            if "warehouse" in parts:
                files.prepare(cursor)
                for source in contracts:
                    _compare_source(
                        comparisons,
                        contracts,
                        plan,
                        source,
                        upto,
                        existing,
                        settings=settings,
                        reads_files=reads_files,
                    )
            for source, days in plan.events.items():
                if "marts" in parts and existing.issuperset(f"marts_build.{mart}" for mart in marts.MARTS):
                    marts.compare_facts_to_marts(comparisons, source, days)
                if "published" in parts and existing.issuperset(f"marts.{mart}" for mart in marts.MARTS):
                    marts.compare_built_to_published(comparisons, source)
            return comparisons.store(run_id)
    finally:
        connection.close()


def _compare_source(
    comparisons: Comparisons,
    contracts: Contracts,
    plan: Plan,
    source: str,
    upto: int,
    existing: frozenset[str],
    *,
    settings: Settings,
    reads_files: bool,
) -> None:
    planned = [
        (contract, plan.files[source, contract.entity])
        for contract in contracts[source].values()
        if (source, contract.entity) in plan.files and f"raw.{contract.table}" in existing
    ]
    for contract, days in planned:
        files.compare_file_to_raw(comparisons, contract, days, settings=settings, reads_files=reads_files)
    if not existing.issuperset(f"warehouse.{table}" for table in _TABLES):
        return
    warehouse = SourceWarehouse(comparisons, contracts, plan, source, upto)
    fed = [entity for entity in WAREHOUSE_KEYS if any(entity in contract.feeds for contract, _ in planned)]
    for entity in fed:
        warehouse.deliver(entity)
    for contract, days in planned:
        for entity in contract.feeds:
            files.compare_raw_to_staging(
                comparisons, contract, entity, days, has_model=f"staging.stg_{entity}" in existing
            )
    if "orders" in fed:
        warehouse.compare_orders()
    if "order_items" in fed:
        warehouse.compare_order_items()
    for entity in ("customers", "products"):
        if entity in fed:
            warehouse.compare_dimension(entity)
    for entity in EVENTS:
        if entity in fed:
            warehouse.compare_events(entity)


def _existing(cursor: psycopg2.extensions.cursor) -> frozenset[str]:
    cursor.execute(
        "select n.nspname || '.' || c.relname "
        "from pg_class as c join pg_namespace as n on n.oid = c.relnamespace "
        "where n.nspname in ('raw', 'staging', 'warehouse', 'marts_build', 'marts') "
        "and c.relkind in ('r', 'p', 'v')"
    )
    return frozenset(name for (name,) in cursor)


def taken_in(connection: db.Connection) -> int:
    """Greatest load id that every table of the warehouse has taken in; 0 where nothing was built."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select coalesce(min(load_id), 0) from ops.model_marks
            where model = any(%s)
            """,
            (list(_TABLES),),
        )
        row = cursor.fetchone()
        return int(row[0]) if row else 0


def findings(connection: db.Connection, measurement: int) -> list[Finding]:
    """What a measurement found, added up over its days, in the order of the layers."""
    key = "source_system, entity, from_layer, to_layer, from_object, to_object, measure"
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"""
            select {key}, sum(value_from), sum(value_to), sum(unexplained), sum(mismatches),
                coalesce(array_agg(coalesce(business_date::text, 'of no day') order by business_date) filter (
                    where unexplained <> 0 or mismatches <> 0
                ), '{{}}')
            from ops.reconciliation
            where measurement = %s
            group by {key}
            """,
            (measurement,),
        )
        sums = cursor.fetchall()
        cursor.execute(
            """
            select source_system, entity, from_object, to_object, measure, name, sum(value), sum(row_count),
                min(meaning), min(business_date), count(*)
            from ops.reconciliation_differences
            where measurement = %s
            group by source_system, entity, from_object, to_object, measure, name
            order by abs(sum(value)) desc, name
            """,
            (measurement,),
        )
        named: dict[tuple[str, ...], list[NamedDifference]] = {}
        for source, entity, from_object, to_object, of, name, value, row_count, meaning, day, days in cursor:
            where = see(name, source, entity, day if days == 1 else None)
            named.setdefault((source, entity, from_object, to_object, of), []).append(
                NamedDifference(name, value, int(row_count), meaning, where)
            )
    found = [
        Finding(
            source, entity, from_layer, to_layer, from_object, to_object, name, value_from, value_to,
            unexplained, int(mismatches), tuple(days),
            tuple(named.get((source, entity, from_object, to_object, name), ())),
        )
        for source, entity, from_layer, to_layer, from_object, to_object, name, value_from, value_to,
        unexplained, mismatches, days in sums
    ]  # fmt: skip
    layers = ("file", "raw", "staging", "warehouse", "marts_build", "marts")
    return sorted(
        found,
        key=lambda f: (
            f.source_system, layers.index(f.to_layer), layers.index(f.from_layer), f.entity, f.to_object,
            f.measure != "rows", f.measure,
        ),
    )  # fmt: skip
