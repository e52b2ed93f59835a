"""A checkpoint from scope to rows in `ops.expectation_results`."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Collection, Sequence

from psycopg2.extras import execute_values

from ecommerce_dw import db
from ecommerce_dw.quality import data_docs
from ecommerce_dw.quality.model import (
    CHECKPOINTS,
    Checkpoint,
    ExpectationOutcome,
    Scope,
    Suite,
    ValidationSummary,
)
from ecommerce_dw.quality.scope import resolve_scope
from ecommerce_dw.settings import Settings


def validate(
    settings: Settings, checkpoint: Checkpoint, run_id: str, *, tables: Collection[str] | None = None
) -> ValidationSummary:
    """Validate what was touched since the last publication at one boundary.

    Every outcome becomes a row of `ops.expectation_results`; a second validation of the same checkpoint in
    the same run replaces the first one's rows.

    Args:
        settings: Whose warehouse, and where results are kept for the Data Docs.
        checkpoint: `raw` (before dbt), `warehouse` (before the marts) or `marts` (before publishing).
        run_id: The run the results belong to; it need not be in `ops.runs`.
        tables: Only what is expected of these tables; None means everything.

    Returns:
        The summary; failed expectations raise nothing, `is_success` tells.

    Raises:
        ValueError: There is no such checkpoint, or nothing is expected of a table there.
        QualityError: An expectation could not be evaluated.
    """
    if checkpoint not in CHECKPOINTS:
        raise ValueError(f"No checkpoint {checkpoint!r}; there are {', '.join(CHECKPOINTS)}.")
    started = time.monotonic()
    # Great Expectations is imported here, when a validation runs: about two seconds.
    from ecommerce_dw.quality import gx

    results_dir = data_docs.results_dir(settings, run_id) / checkpoint
    shutil.rmtree(results_dir, ignore_errors=True)
    connection = db.connect(
        "transformer", settings=settings, application_name=f"ecommerce-dw: validate {checkpoint}"
    )
    try:
        scope = resolve_scope(connection, run_id)
        written = suites(settings, connection, checkpoint, scope)
        if tables is not None:
            unknown = sorted(set(tables) - {suite.object for suite in written})
            if unknown:
                raise ValueError(f"Checkpoint {checkpoint} expects nothing of {', '.join(unknown)}.")
            written = tuple(suite for suite in written if suite.object in tables)
        outcomes = gx.run(settings, checkpoint, written, run_id, results_dir)
        accepted = _accepted(connection, written, outcomes, scope)
        # Accepted up to an earlier load: what came after it is looked at by itself.
        for since in sorted({mark for mark in accepted.values() if mark < scope.upto}):
            names = {name for name, mark in accepted.items() if mark == since}
            later = resolve_scope(connection, run_id, accepted_to=since)
            again = _only(suites(settings, connection, checkpoint, later), names)
            still = {o.name for o in gx.run(settings, checkpoint, again, run_id, None) if not o.is_success}
            for name in names & still:
                del accepted[name]
        outcomes = tuple(dataclasses.replace(o, is_accepted=o.name in accepted) for o in outcomes)
        _record(connection, checkpoint, run_id, outcomes, tables)
    finally:
        connection.close()
    return ValidationSummary(
        checkpoint, run_id, scope.since, scope.upto, time.monotonic() - started, outcomes
    )


def suites(
    settings: Settings, connection: db.Connection, checkpoint: Checkpoint, scope: Scope
) -> tuple[Suite, ...]:
    """The suites of a checkpoint for a scope; the layers up to it are reconciled on the way."""
    from ecommerce_dw.contracts.reader import read_contracts

    if checkpoint == "raw":
        from ecommerce_dw.quality import raw

        with connection, connection.cursor() as cursor:
            cursor.execute("select tablename from pg_tables where schemaname = 'raw'")
            tables = [name for (name,) in cursor]
        return raw.suites(scope, read_contracts(settings.contracts_dir), tables)
    if checkpoint == "warehouse":
        from ecommerce_dw.quality import warehouse

        return warehouse.suites(settings, scope, read_contracts(settings.contracts_dir), connection)
    from ecommerce_dw.quality import marts, reconciled

    measurement = reconciled.measure_marts(
        settings, connection, read_contracts(settings.contracts_dir), scope
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "select built.tablename from pg_tables as built "
            "inner join pg_tables as published on published.tablename = built.tablename "
            "where built.schemaname = 'marts_build' and published.schemaname = 'marts' order by 1"
        )
        published = [name for (name,) in cursor]
    return (*marts.suites(scope, published), reconciled.suite(measurement, "marts"))


def _accepted(
    connection: db.Connection,
    written: Sequence[Suite],
    outcomes: Sequence[ExpectationOutcome],
    scope: Scope,
) -> dict[str, int]:
    """Of the failed expectations those a person accepted: name → load id up to which."""
    failed = [outcome.name for outcome in outcomes if not outcome.is_success]
    if not failed:
        return {}
    acceptable = {e.name for suite in written for e in suite.expectations if e.is_acceptable}
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "select name, load_id_to from ops.accepted_expectations "
            "where name = any(%s) and load_id_to >= %s",
            (failed, scope.since),
        )
        return {name: int(mark) for name, mark in cursor if name in acceptable}


def _only(written: Sequence[Suite], names: set[str]) -> tuple[Suite, ...]:
    kept = (
        dataclasses.replace(suite, expectations=tuple(e for e in suite.expectations if e.name in names))
        for suite in written
    )
    return tuple(suite for suite in kept if suite.expectations)


def _record(
    connection: db.Connection,
    checkpoint: Checkpoint,
    run_id: str,
    outcomes: Sequence[ExpectationOutcome],
    tables: Collection[str] | None,
) -> None:
    rows = [
        (
            run_id,
            checkpoint,
            outcome.suite,
            outcome.name,
            outcome.expectation_type,
            outcome.object,
            outcome.severity,
            outcome.is_success,
            outcome.is_accepted,
            json.dumps({"rows": outcome.unexpected_count, "examples": outcome.examples}, default=str),
            outcome.unexpected_count,
            None if outcome.is_success else outcome.describe(),
        )
        for outcome in outcomes
    ]
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "delete from ops.expectation_results where run_id = %s and checkpoint = %s "
            "and (%s or object = any(%s))",
            (run_id, checkpoint, tables is None, list(tables or ())),
        )
        execute_values(
            cursor,
            """
            insert into ops.expectation_results (
                run_id, checkpoint, suite, name, expectation_type, object, severity, is_success, is_accepted,
                observed, unexpected_count, message
            ) values %s
            """,
            rows,
        )
