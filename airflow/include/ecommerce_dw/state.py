"""The state of the warehouse at a glance: is it all right, and what says so."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import psycopg2.extensions

from ecommerce_dw import db
from ecommerce_dw.alerts.incidents import RULE_LATE, RULE_MISSING, RULE_STALE
from ecommerce_dw.freshness import Status
from ecommerce_dw.loading.ledger import in_effect
from ecommerce_dw.nightly import LateRun, find_late_run
from ecommerce_dw.settings import Settings

#: Less room than this on the disk of the home needs a person (bytes).
LITTLE_ROOM = 1_000_000_000
#: Days whose median is what is usual: four weeks, so that each weekday counts the same.
_USUAL_DAYS = 28
#: Open incidents that a line has room for.
_SHOWN_INCIDENTS = 3


@dataclass(frozen=True)
class SourceState:
    """One source of which files were loaded.

    Attributes:
        source: Its name.
        as_of: Greatest business date among its loaded files.
        freshness: What the check of the latest business date found; `none` where it is not watched.
        staleness_days: Days that it was behind at that check.
        loaded_files, rows_loaded, rows_rejected: Of the files whose rows are in the tables.
        refused_files: Refused files that nobody has settled.
        unresolved_rejects: Rejected rows that no file has settled.
        rows_of_day: Rows loaded for the day `as_of`.
        usual_rows: Median of the rows of the 28 days before it that have any; None without such days.
    """

    source: str
    as_of: dt.date | None
    freshness: Status
    staleness_days: int | None
    loaded_files: int
    rows_loaded: int
    rows_rejected: int
    refused_files: int
    unresolved_rejects: int
    rows_of_day: int
    usual_rows: float | None


@dataclass(frozen=True)
class RunState:
    """The latest run, as `ops.runs` has it."""

    run_id: str
    business_date: dt.date | None
    status: str
    started_at: dt.datetime
    finished_at: dt.datetime | None
    message: str | None


@dataclass(frozen=True)
class Publication:
    """The latest publication of `marts`: the day its run was about, how many tables and changed rows."""

    published_at: dt.datetime
    business_date: dt.date | None
    load_id_to: int | None
    tables: int
    rows_changed: int


@dataclass(frozen=True)
class OpenIncident:
    """An incident that is not over."""

    scope: str
    object: str
    rule: str
    severity: str
    opened_at: dt.datetime
    title: str


@dataclass(frozen=True)
class NextRun:
    """What Airflow plans: the start of the next run (None: no time is planned), and whether it is paused."""

    at: dt.datetime | None
    is_paused: bool


@dataclass(frozen=True)
class State:
    """Everything that `ecommerce-dw status` tells.

    Attributes:
        now: When this was looked at.
        sources: By name.
        last_run: None where nothing ever ran.
        last_publication: None where nothing was ever published.
        open_incidents: Oldest first.
        late_run: The nightly run that is late now.
        next_run: None where there is no Airflow.
        warehouse_bytes: Size of the warehouse's database.
        disk_free_bytes, disk_total_bytes: Of the disk that holds the platform's home.
    """

    now: dt.datetime
    sources: tuple[SourceState, ...]
    last_run: RunState | None
    last_publication: Publication | None
    open_incidents: tuple[OpenIncident, ...]
    late_run: LateRun | None
    next_run: NextRun | None
    warehouse_bytes: int
    disk_free_bytes: int
    disk_total_bytes: int

    @property
    def problems(self) -> tuple[str, ...]:
        """What needs a person now, worst first; empty when all is right."""
        return tuple(self._problems())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know, and can wait."""
        warnings = sum(not _needs_a_person(incident) for incident in self.open_incidents)
        remarks = [f"{warnings} warning{'s' if warnings > 1 else ''} open"] if warnings else []
        if self.next_run and self.next_run.is_paused:
            remarks.append("the DAG is paused")
        return tuple(remarks)

    def _problems(self) -> Iterator[str]:
        if self.late_run:
            yield (
                f"the nightly run about {self.late_run.business_date} is late "
                f"(due {self.late_run.due_at:%Y-%m-%d %H:%M} UTC)"
            )
        serious = [
            incident
            for incident in self.open_incidents
            if _needs_a_person(incident) and not (self.late_run and incident.rule == RULE_LATE)
        ]
        yield from (incident.title for incident in serious[:_SHOWN_INCIDENTS])
        if len(serious) > _SHOWN_INCIDENTS:
            yield f"{len(serious) - _SHOWN_INCIDENTS} incidents more"
        if self.last_run and self.last_run.status == "failed" and not serious:
            yield f"the last run failed ({self.last_run.message or 'its log says why'})"
        if self.disk_free_bytes < LITTLE_ROOM:
            yield f"the disk is nearly full ({_size(self.disk_free_bytes)} free)"

    def lines(self) -> list[str]:
        """The state in nine lines; the first one answers whether it is all right."""
        return [f"{name:<11}{text}" for name, text in self._lines()]

    def as_dict(self) -> dict[str, Any]:
        """The state for machines."""
        return {
            "is_ok": not self.problems,
            "problems": list(self.problems),
            "remarks": list(self.remarks),
            **asdict(self),
        }

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield headline(self.problems, self.remarks, self._published_text())
        yield "sources", " · ".join(map(_source_text, self.sources)) or "no file has been loaded yet"
        yield "last run", self._last_run_text()
        published = self.last_publication
        yield (
            "published",
            f"{published.published_at:%Y-%m-%d %H:%M} UTC ({_age(self.now - published.published_at)} ago), "
            f"{published.rows_changed:,} rows changed in {published.tables} tables"
            if published
            else "nothing yet",
        )
        yield "rows", " · ".join(_rows_text(source) for source in self.sources) or "none"
        refused = sum(source.refused_files for source in self.sources)
        rejected = sum(source.unresolved_rejects for source in self.sources)
        yield "unsettled", f"{refused:,} refused files, {rejected:,} rejected rows"
        yield "incidents", self._incidents_text()
        yield "next run", self._next_run_text()
        yield (
            "sizes",
            f"warehouse {_size(self.warehouse_bytes)}, disk {_size(self.disk_free_bytes)} free of "
            f"{_size(self.disk_total_bytes)}",
        )

    def _published_text(self) -> str:
        if self.last_publication is None:
            return "nothing was published yet"
        date = self.last_publication.business_date
        return f"published up to {date}" if date else "published"

    def _last_run_text(self) -> str:
        run = self.last_run
        if run is None:
            return "none yet: trigger the DAG, or `ecommerce-dw load`"
        about = f"{run.run_id} about {run.business_date}: {run.status}"
        if run.finished_at is None:
            return f"{about} for {_age(self.now - run.started_at)}"
        seconds = (run.finished_at - run.started_at).total_seconds()
        return f"{about} at {run.finished_at:%Y-%m-%d %H:%M} UTC, took {seconds:,.0f} s"

    def _incidents_text(self) -> str:
        if not self.open_incidents:
            return "none open"
        shown = [
            f"{incident.severity} for {_age(self.now - incident.opened_at)}: {incident.title}"
            for incident in self.open_incidents[:_SHOWN_INCIDENTS]
        ]
        more = len(self.open_incidents) - len(shown)
        return f"{len(self.open_incidents)} open · " + " · ".join(shown) + (f" · {more} more" if more else "")

    def _next_run_text(self) -> str:
        planned = self.next_run
        if planned is None:
            return "unknown: there is no Airflow here, or it does not know the DAG yet"
        if planned.is_paused:
            return "none: the DAG is paused (`airflow dags unpause ecommerce_etl_pipeline`)"
        if planned.at is None:
            return "none is planned"
        if planned.at <= self.now:
            return f"due since {planned.at:%Y-%m-%d %H:%M} UTC"
        return f"{planned.at:%Y-%m-%d %H:%M} UTC (in {_age(planned.at - self.now)})"


def headline(problems: tuple[str, ...], remarks: tuple[str, ...], all_right: str) -> tuple[str, str]:
    """The first line: the verdict, and what it is based on."""
    if problems:
        return "ATTENTION", "; ".join(problems)
    return "OK", "; ".join([all_right, *remarks])


def read_state(settings: Settings, now: dt.datetime, next_run: NextRun | None = None) -> State:
    """Look at the warehouse.

    Args:
        settings: Whose.
        now: The current time.
        next_run: What Airflow plans.

    Raises:
        psycopg2.OperationalError: The warehouse does not answer.
    """
    with db.transaction("transformer", settings=settings) as cursor:
        sources = tuple(SourceState(*row) for row in _all(cursor, _SOURCES))
        last_run = next((RunState(*row) for row in _all(cursor, _LAST_RUN)), None)
        published = next((Publication(*row) for row in _all(cursor, _PUBLICATION)), None)
        incidents = tuple(OpenIncident(*row) for row in _all(cursor, _INCIDENTS))
        [(size,)] = _all(cursor, "select pg_database_size(current_database())")
    disk = shutil.disk_usage(next(path for path in (settings.home, *settings.home.parents) if path.exists()))
    return State(
        now=now,
        sources=sources,
        last_run=last_run,
        last_publication=published,
        open_incidents=incidents,
        late_run=find_late_run(settings, now),
        next_run=next_run,
        warehouse_bytes=int(size),
        disk_free_bytes=disk.free,
        disk_total_bytes=disk.total,
    )


_SOURCES = f"""
with ledger as (
    select l.*, {in_effect("l")} as is_in_effect from raw.load_ledger as l
),
days as (
    select source, business_date, sum(rows_loaded) as row_count,
        row_number() over (partition by source order by business_date desc) as age
    from ledger
    where is_in_effect
    group by source, business_date
),
usual as (
    select source, max(row_count) filter (where age = 1)::bigint as rows_of_day,
        percentile_cont(0.5) within group (order by row_count)
            filter (where age between 2 and {_USUAL_DAYS + 1}) as usual_rows
    from days
    group by source
),
checked as (
    select distinct on (source) source, status, staleness_days
    from ops.source_freshness
    order by source, business_date desc, checked_at desc
)
select
    l.source,
    max(l.business_date) filter (where l.is_in_effect),
    coalesce(max(c.status), 'none'),
    max(c.staleness_days),
    count(*) filter (where l.is_in_effect),
    coalesce(sum(l.rows_loaded) filter (where l.is_in_effect), 0)::bigint,
    coalesce(sum(l.rows_rejected) filter (where l.is_in_effect), 0)::bigint,
    count(*) filter (where l.is_current and l.status = 'refused'),
    (select count(*) from raw.rejected_rows as r where r.source = l.source and r.resolved_by is null),
    coalesce(max(u.rows_of_day), 0),
    max(u.usual_rows)
from ledger as l
left join usual as u using (source)
left join checked as c using (source)
group by l.source
order by l.source
"""
_LAST_RUN = """
select run_id, business_date, status, started_at, finished_at, message
from ops.runs
order by started_at desc, run_seq desc
limit 1
"""
_INCIDENTS = """
select scope, object, rule, severity, opened_at, title
from ops.incidents
where closed_at is null
order by opened_at, incident_id
"""
_PUBLICATION = """
select max(p.published_at), max(r.business_date), max(p.load_id_to), count(*),
    sum(p.rows_inserted + p.rows_updated + p.rows_deleted)::bigint
from ops.publications as p
left join ops.runs as r using (run_id)
where p.run_id is not distinct from (
    select run_id from ops.publications order by publication_id desc limit 1
)
having count(*) > 0
"""


def _all(cursor: psycopg2.extensions.cursor, statement: str) -> list[tuple[Any, ...]]:
    cursor.execute(statement)
    return cursor.fetchall()


def _needs_a_person(incident: OpenIncident) -> bool:
    """Whether it can't wait: what stopped something, and a source or entity that stays away."""
    return incident.severity == "critical" or incident.rule in (RULE_STALE, RULE_MISSING)


def _source_text(source: SourceState) -> str:
    if source.as_of is None:
        return f"{source.source}: nothing is loaded"
    behind = f"{source.freshness}, {source.staleness_days} days behind"
    words = {"none": "not watched", "fresh": "fresh"}.get(source.freshness, behind)
    return f"{source.source} as of {source.as_of} ({words})"


def _rows_text(source: SourceState) -> str:
    text = f"{source.source} {source.rows_of_day:,} on {source.as_of}"
    if not source.usual_rows:
        return text
    share = source.rows_of_day / source.usual_rows - 1
    return f"{text}, usually {source.usual_rows:,.0f} ({share:+.0%})"


def _age(age: dt.timedelta) -> str:
    minutes = max(0, round(age.total_seconds() / 60))
    if minutes < 120:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{hours} h" if hours < 48 else f"{round(hours / 24)} days"


def _size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
