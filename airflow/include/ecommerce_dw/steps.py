"""What each step of a run cost: time, memory and rows, kept in `ops.run_steps`."""

from __future__ import annotations

import datetime as dt
import logging
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2

from ecommerce_dw import db
from ecommerce_dw.logs import about
from ecommerce_dw.settings import Settings

_logger = logging.getLogger(__name__)

#: `ru_maxrss` is in KiB, on macOS in bytes.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass
class Step:
    """A step that is going on.

    Attributes:
        row_count: Rows it moved, to be set by the step; None where it moves none.
    """

    row_count: int | None = None


@contextmanager
def measured(step: str, run_id: str, settings: Settings) -> Iterator[Step]:
    """Keep what a step costs, whether it succeeds or fails; its log lines say whose they are.

    A database that cannot take the row does not fail the step: what became of it matters more.

    Args:
        step: Its name, that of the DAG's task.
        run_id: The run it belongs to.
        settings: Whose warehouse.
    """
    going = Step()
    started = dt.datetime.now(dt.UTC)
    is_success = False
    with about(run_id=run_id, step=step):
        try:
            yield going
            is_success = True
        finally:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
            try:
                _keep(settings, (run_id, step, is_success, started, memory, going.row_count))
            except psycopg2.Error as error:
                _logger.warning("What %s cost is not kept: %s", step, str(error).strip())


def written_since(settings: Settings, touched_seq: int) -> int:
    """Rows that models wrote or removed after an entry of `ops.touched`.

    A model that was built whole counts with the rows of its table, as the server's statistics know them.
    """
    with db.transaction("transformer", settings=settings) as cursor:
        cursor.execute(
            """
            select
                (select count(*) from ops.touched where touched_seq > %(seq)s and key <> '*')
                + coalesce((
                    select sum(tables.row_count)
                    from ops.touched
                    cross join lateral (
                        select greatest(max(c.reltuples), 0)::bigint as row_count
                        from pg_class as c
                        join pg_namespace as n on n.oid = c.relnamespace
                        where c.relname = touched.model
                            and n.nspname in ('warehouse', 'intermediate', 'marts_build')
                    ) as tables
                    where touched.touched_seq > %(seq)s and touched.key = '*'
                ), 0)::bigint
            """,
            {"seq": touched_seq},
        )
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def _keep(settings: Settings, values: tuple[object, ...]) -> None:
    with db.transaction("transformer", settings=settings) as cursor:
        cursor.execute(
            """
            insert into ops.run_steps
                (run_id, step, is_success, started_at, finished_at, peak_memory_bytes, row_count)
            values (%s, %s, %s, %s, clock_timestamp(), %s, %s)
            """,
            values,
        )
