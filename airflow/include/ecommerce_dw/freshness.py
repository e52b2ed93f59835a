"""Content staleness: how far each source's newest data lies behind the day a run is about."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from psycopg2.extras import execute_values

from ecommerce_dw import db
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.loading.ledger import in_effect
from ecommerce_dw.settings import Settings

Status = Literal["fresh", "warn", "stale", "none"]


@dataclass(frozen=True)
class SourceFreshness:
    """How fresh one source's content is; a row of `ops.source_freshness`.

    Attributes:
        source: Its name.
        business_date: The day the run is about.
        max_loaded_date: Greatest business date among its loaded files up to that day; None without any.
        staleness_days: Days between the two; None without any file.
        max_staleness_days: What the strictest of its contracts allows; None where none watches freshness.
        status: `fresh` (data of the day itself), `warn` (behind, within what is allowed), `stale` (further
            behind), `none` (not watched, or nothing was ever loaded).
    """

    source: str
    business_date: dt.date
    max_loaded_date: dt.date | None
    staleness_days: int | None
    max_staleness_days: int | None
    status: Status


def check_freshness(settings: Settings, run_id: str, business_date: dt.date) -> tuple[SourceFreshness, ...]:
    """Record how fresh each source is on a run's business date. A second check of a run replaces the first.

    The clock is not read: a run for a past day gives what it would have given on that day.

    Args:
        settings: Whose warehouse and contracts.
        run_id: The run the rows belong to.
        business_date: The day the run is about.

    Returns:
        One entry per source that has contracts, by name.
    """
    contracts = read_contracts(settings.contracts_dir)
    with db.transaction("transformer", settings=settings) as cursor:
        cursor.execute(
            f"""
            select l.source, max(l.business_date)
            from raw.load_ledger as l
            where {in_effect("l")} and l.business_date <= %s
            group by l.source
            """,
            (business_date,),
        )
        newest: dict[str, dt.date] = dict(cursor.fetchall())
        results = []
        for source, entities in sorted(contracts.items()):
            watched = [
                contract.max_staleness_days
                for contract in entities.values()
                if contract.max_staleness_days is not None
            ]
            results.append(_judge(source, business_date, newest.get(source), min(watched, default=None)))
        cursor.execute("delete from ops.source_freshness where run_id = %s", (run_id,))
        execute_values(
            cursor,
            """
            insert into ops.source_freshness
                (run_id, source, business_date, max_loaded_date, staleness_days, status)
            values %s
            """,
            [
                (run_id, r.source, r.business_date, r.max_loaded_date, r.staleness_days, r.status)
                for r in results
            ],
        )
    return tuple(results)


def _judge(
    source: str, business_date: dt.date, newest: dt.date | None, allowed: int | None
) -> SourceFreshness:
    behind = (business_date - newest).days if newest else None
    status: Status
    if behind is None or allowed is None:
        status = "none"
    elif behind == 0:
        status = "fresh"
    else:
        status = "warn" if behind <= allowed else "stale"
    return SourceFreshness(source, business_date, newest, behind, allowed, status)
