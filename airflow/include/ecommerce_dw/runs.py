"""Runs of the pipeline: opened by the first step, closed by the last, kept in `ops.runs`."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import psycopg2.extensions


@dataclass(frozen=True)
class Run:
    """One run of the pipeline.

    Attributes:
        run_id: Airflow's run id, or `cli__<timestamp>` for a run from a shell.
        business_date: The day the run is about: files with a later date stay where they are.
        source: Only this source's files are loaded; None means all.
        is_full_refresh: Whether models are rebuilt instead of brought up to date.
        load_id_to: Greatest load id that the run's models take in; None until loading has ended.
    """

    run_id: str
    business_date: dt.date | None
    source: str | None
    is_full_refresh: bool
    load_id_to: int | None


def shell_run_id(command: str = "") -> str:
    """The id of a run from a shell that begins now; `command` says which, where several are alike."""
    named = f"{command}__" if command else ""
    return f"cli__{named}{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}"


_COLUMNS = "run_id, business_date, source, is_full_refresh, load_id_to"


def open_run(
    connection: psycopg2.extensions.connection,
    run_id: str,
    *,
    business_date: dt.date | None,
    source: str | None = None,
    is_full_refresh: bool = False,
) -> Run:
    """Open a run, or open it again when a task is tried again. Commits.

    A run that is opened again under the same id keeps its place but freezes a new upper end.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"""
            insert into ops.runs (run_id, business_date, source, is_full_refresh)
            values (%s, %s, %s, %s)
            on conflict (run_id) do update set
                business_date = excluded.business_date, source = excluded.source,
                is_full_refresh = excluded.is_full_refresh, load_id_to = null, validated_seq = null,
                status = 'running', started_at = clock_timestamp(), finished_at = null, message = null
            returning {_COLUMNS}
            """,
            (run_id, business_date, source, is_full_refresh),
        )
        return Run(*_one(cursor))


def freeze(
    connection: psycopg2.extensions.connection, run_id: str, *, business_date: dt.date | None = None
) -> Run:
    """Freeze the upper end of the load ids that every layer of this run takes in. Commits.

    Args:
        connection: To the warehouse.
        run_id: The run.
        business_date: The day the run turned out to be about, where it was opened without one.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"""
            update ops.runs
            set load_id_to = (select coalesce(max(load_id), 0) from raw.load_ledger),
                business_date = coalesce(business_date, %s)
            where run_id = %s
            returning {_COLUMNS}
            """,
            (business_date, run_id),
        )
        return Run(*_one(cursor))


def get_run(connection: psycopg2.extensions.connection, run_id: str | None = None) -> Run | None:
    """The run of this id, or the latest whose upper end is frozen; None where there is none."""
    with connection, connection.cursor() as cursor:
        if run_id is None:
            cursor.execute(f"select {_COLUMNS} from ops.current_run")
        else:
            cursor.execute(f"select {_COLUMNS} from ops.runs where run_id = %s", (run_id,))
        row = cursor.fetchone()
        return Run(*row) if row else None


def close_run(
    connection: psycopg2.extensions.connection, run_id: str, *, is_success: bool, message: str | None = None
) -> None:
    """Record how the run ended. Commits."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "update ops.runs set status = %s, finished_at = clock_timestamp(), message = %s "
            "where run_id = %s",
            ("succeeded" if is_success else "failed", message, run_id),
        )


def _one(cursor: psycopg2.extensions.cursor) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = cursor.fetchone()
    if row is None:
        raise LookupError("No such run in ops.runs.")
    return row
