"""Comparisons of two layers, folded to days and kept in `ops`."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import psycopg2.extensions
from psycopg2.extras import execute_values

from ecommerce_dw.loading.ddl import quote_text
from ecommerce_dw.reconciliation.differences import DIFFERENCES, see
from ecommerce_dw.reconciliation.plan import Days


@dataclass(frozen=True)
class Step:
    """One entity's way from one layer to the next.

    Attributes:
        source, entity: Whose rows; the entity is a contract's between file and raw, a conformed one after.
        from_layer, to_layer: `file`, `raw`, `staging`, `warehouse`, `marts_build`, `marts`.
        from_object, to_object: Pattern of the files, or table or view.
        days: Days that are measured; what was known of them before is replaced. None for all.
    """

    source: str
    entity: str
    from_layer: str
    to_layer: str
    from_object: str
    to_object: str
    days: Days


class Comparisons:
    """Collects comparisons in temporary tables of one transaction, and writes them.

    A comparison is a row of a step's SELECT with these columns:

    - `day`, `measure`: what is compared; `rows`, or an amount.
    - `delivered`: what the earlier layer has.
    - `expected`: what the later one must have of it. Where that is something else, `name` says why
      (a key of `DIFFERENCES`); a comparison without a name expects what was delivered.
    - `actual`: what the later layer has.
    - `row_count`: rows that a named difference is about.
    - `wrong`: rows that are not as expected, whatever the sums.
    """

    def __init__(self, cursor: psycopg2.extensions.cursor) -> None:
        self.cursor = cursor
        self._steps: list[Step] = []
        cursor.execute(
            """
            create temporary table folded (
                step_number integer, day date, measure text, name text, delivered numeric, actual numeric,
                explained numeric, row_count bigint, wrong bigint
            ) on commit drop
            """
        )

    def add(self, step: Step, select: str) -> None:
        """Take in a step's comparisons."""
        self._steps.append(step)
        self.cursor.execute(
            f"""
            insert into pg_temp.folded
            select {len(self._steps) - 1}, day, measure, name, sum(delivered), sum(actual),
                sum(expected - delivered), sum(row_count), sum(wrong)
            from ({select}) as compared
            group by day, measure, name
            """
        )

    def explain_rest(self, step: Step, name: str, condition: str) -> None:
        """Give what is unexplained of a step's days a name.

        Args:
            condition: On `day`.
        """
        number = self._steps.index(step)
        self.cursor.execute(
            f"""
            insert into pg_temp.folded
            select {number}, day, measure, {quote_text(name)}, 0, 0,
                sum(actual) - sum(delivered) - coalesce(sum(explained) filter (where name is not null), 0), 0,
                -sum(wrong)
            from pg_temp.folded
            where step_number = {number} and ({condition})
            group by day, measure
            having sum(actual) - sum(delivered) <> coalesce(sum(explained) filter (where name is not null), 0)
                or sum(wrong) <> 0
            """
        )

    def store(self, run_id: str) -> int:
        """Replace what `ops.reconciliation` knows of the measured days.

        Returns:
            The number of this measurement.
        """
        cursor = self.cursor
        cursor.execute("select nextval('ops.reconciliation_measurement_seq')")
        (measurement,) = cursor.fetchone() or (0,)
        columns = "source_system, entity, from_layer, to_layer, from_object, to_object"
        cursor.execute(
            """
            create temporary table steps (
                step_number integer, source_system text, entity text, from_layer text, to_layer text,
                from_object text, to_object text, is_whole boolean, days date[]
            ) on commit drop
            """
        )
        execute_values(
            cursor,
            "insert into pg_temp.steps values %s",
            [
                (number, s.source, s.entity, s.from_layer, s.to_layer, s.from_object, s.to_object,
                 s.days is None, sorted(s.days or ()))
                for number, s in enumerate(self._steps)
            ],
            template="(%s, %s, %s, %s, %s, %s, %s, %s, %s::date[])",
        )  # fmt: skip
        for table in ("ops.reconciliation", "ops.reconciliation_differences"):
            cursor.execute(
                f"""
                delete from {table} as r
                using pg_temp.steps as s
                where r.source_system = s.source_system and r.entity = s.entity
                    and r.from_object = s.from_object and r.to_object = s.to_object
                    and (s.is_whole or r.business_date is null);
                delete from {table} as r
                using (select *, unnest(days) as day from pg_temp.steps) as s
                where r.source_system = s.source_system and r.entity = s.entity
                    and r.from_object = s.from_object and r.to_object = s.to_object
                    and r.business_date = s.day
                """
            )
        cursor.execute(
            f"""
            insert into ops.reconciliation (
                {columns}, business_date, measure, value_from, value_to, explained, mismatches, run_id,
                measurement
            )
            select {columns}, f.day, f.measure, sum(f.delivered), sum(f.actual),
                coalesce(sum(f.explained) filter (where f.name is not null), 0), sum(f.wrong), %s, %s
            from pg_temp.folded as f
            join pg_temp.steps as s using (step_number)
            group by {columns}, f.day, f.measure
            """,
            (run_id, measurement),
        )
        cursor.execute(
            """
            select f.step_number, f.day, f.measure, f.name, f.explained, f.row_count
            from pg_temp.folded as f
            where f.name is not null and (f.explained <> 0 or f.row_count <> 0)
            """
        )
        rows = []
        for number, day, measure, name, value, row_count in cursor.fetchall():
            step = self._steps[number]
            rows.append(
                (
                    *(step.source, step.entity, step.from_object, step.to_object, day, measure, name, value),
                    *(row_count, DIFFERENCES[name].meaning, see(name, step.source, step.entity, day)),
                    measurement,
                )
            )
        execute_values(
            cursor,
            """
            insert into ops.reconciliation_differences (
                source_system, entity, from_object, to_object, business_date, measure, name, value, row_count,
                meaning, see, measurement
            ) values %s
            """,
            rows,
            page_size=1000,
        )
        return int(measurement)


def date_array(days: frozenset[dt.date]) -> str:
    """Days as a constant array."""
    return "'{" + ",".join(day.isoformat() for day in sorted(days)) + "}'::date[]"


def on_days(column: str, days: Days) -> str:
    """Condition: a date is one of these days."""
    return "true" if days is None else f"{column} = any({date_array(days)})"
