"""Incidents: what is wrong now, compared with what people have been told.

An incident is (scope, object, rule): scope is the DAG or the source. One alert goes out when it opens, one
when it closes. Which incidents should be open follows from the state of the warehouse, so evaluating twice
sends nothing twice, and the order of evaluations does not matter.
"""

from __future__ import annotations

import datetime as dt
import logging
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg2.extensions
from psycopg2.extras import Json

from ecommerce_dw import db
from ecommerce_dw.alerts.channels import Channel, configured_channels
from ecommerce_dw.alerts.delivery import Delivery, deliver
from ecommerce_dw.alerts.kinds import Kind
from ecommerce_dw.contracts.model import Severity
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.loading.ledger import in_effect
from ecommerce_dw.logs import about
from ecommerce_dw.nightly import LateRun, is_done
from ecommerce_dw.quality.raw import REFUSALS
from ecommerce_dw.settings import Settings

_logger = logging.getLogger(__name__)

DAG_ID = "ecommerce_etl_pipeline"
RULE_REFUSED = "file refused"
RULE_STALE = "source stale"
RULE_MISSING = "entity missing"
RULE_LATE = "run late"
RULE_TASK = "task failed"

#: Kind of the incidents of tasks that have a page of their own, by DAG and task.
_TASK_KINDS = {
    **{(DAG_ID, f"build_{layer}"): Kind.DBT_FAILED for layer in ("staging", "warehouse", "marts")},
    **{("maintenance", task): Kind.BACKUP_FAILED for task in ("backup", "prune_backups")},
    **{
        ("maintenance", task): Kind.MAINTENANCE_FAILED
        for task in ("prune_outcomes", "prune_logs", "prune_metadata", "vacuum")
    },
}


@dataclass(frozen=True)
class TaskFailure:
    """A task that failed for a reason of its own (not: a refused file or a failed expectation).

    Attributes:
        task_id: In the DAG.
        message: Its last words, for the alert.
    """

    task_id: str
    message: str = ""


@dataclass(frozen=True)
class Incident:
    """Something that is wrong, with what a person needs to know.

    Attributes:
        kind: What it is about; says which page of the runbooks tells more.
        scope: The DAG's or the source's name.
        object: The table, file, source or task.
        rule: What it breaks.
        severity: `critical` or `warning`.
        title: One line.
        body: What happened, which rows or files, what to do.
        link: Where to look.
    """

    kind: Kind
    scope: str
    object: str
    rule: str
    severity: Severity
    title: str
    body: str
    link: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same incident."""
        return (self.scope, self.object, self.rule)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation did.

    Attributes:
        opened, closed: Titles of the incidents that opened and closed.
        open: How many are open now.
        deliveries: What the channels did.
    """

    opened: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    open: int = 0
    deliveries: tuple[Delivery, ...] = field(default=())

    @property
    def failed_deliveries(self) -> tuple[Delivery, ...]:
        """Alerts that a channel did not take; they are tried again at the next evaluation."""
        return tuple(delivery for delivery in self.deliveries if delivery.error)

    def as_dict(self) -> dict[str, object]:
        """The evaluation for machines."""
        return {
            "opened": list(self.opened),
            "closed": list(self.closed),
            "open": self.open,
            "delivered": sum(delivery.error is None for delivery in self.deliveries),
            "failed_deliveries": [
                {"alert_id": delivery.alert_id, "channel": delivery.channel, "error": delivery.error}
                for delivery in self.failed_deliveries
            ],
        }


def evaluate(
    settings: Settings,
    run_id: str,
    *,
    task_failures: Iterable[str | TaskFailure] = (),
    task_successes: Iterable[str] = (),
    late_run: LateRun | None = None,
    dag_id: str = DAG_ID,
    tasks_of: str | None = None,
    channels: Iterable[Channel] | None = None,
) -> Evaluation:
    """Open and close incidents by the state of the warehouse, and alert people.

    Args:
        settings: Whose warehouse and channels.
        run_id: The run that asks; named in the alerts.
        task_failures: Tasks of this run that failed for reasons of their own. A task that failed because of
            a refused file or a failed expectation does not belong here: their incidents speak for it.
        task_successes: Tasks of this run that succeeded: their incidents close.
        late_run: A nightly run whose deadline has passed; nothing when it is done by now. Its incident closes
            when a run has published that day or a later one.
        dag_id: The DAG whose state the warehouse shows.
        tasks_of: The DAG whose tasks those are, where it is another one.
        channels: Defaults to those the settings name.

    Returns:
        What opened, closed and was delivered. A channel that fails raises nothing; it is in the result, in
        `ops.alerts.deliveries` and in the log, and is tried again at the next evaluation.
    """
    failures = [TaskFailure(f) if isinstance(f, str) else f for f in task_failures]
    chosen = tuple(configured_channels(settings) if channels is None else channels)
    connection = db.connect("transformer", settings=settings, application_name="ecommerce-dw: alerts")
    try:
        with connection, connection.cursor() as cursor:
            # One evaluation at a time: each sees what the one before has told people.
            db.advisory_locks(cursor, [db.INCIDENT_LOCK], "lock of the incidents", settings)
            names = [channel.name for channel in chosen]
            book = _Book(cursor, settings, run_id, dag_id, tasks_of or dag_id, names)
            opened, closed = book.compare(failures, frozenset(task_successes), late_run)
            cursor.execute("select count(*) from ops.incidents where closed_at is null")
            (still_open,) = cursor.fetchone() or (0,)
        with about(run_id=run_id):
            deliveries = deliver(connection, chosen, settings.alert_retry_seconds)
    finally:
        connection.close()
    with about(run_id=run_id):
        for title in opened:
            _logger.warning("Incident opened: %s", title)
        for title in closed:
            _logger.info("Incident closed: %s", title)
    return Evaluation(tuple(opened), tuple(closed), int(still_open), deliveries)


def send_waiting(settings: Settings) -> tuple[Delivery, ...]:
    """Hand over the alerts that channels have not taken and that are due for another try."""
    connection = db.connect("transformer", settings=settings, application_name="ecommerce-dw: alerts")
    try:
        return deliver(connection, configured_channels(settings), settings.alert_retry_seconds)
    finally:
        connection.close()


def run_link(settings: Settings, run_id: str, dag_id: str = DAG_ID, task_id: str | None = None) -> str:
    """The page of a run (or of one of its tasks) in Airflow's UI; of the DAG for a run from a shell."""
    page = f"{settings.airflow_base_url.rstrip('/')}/dags/{urllib.parse.quote(dag_id, safe='')}"
    if run_id.startswith("cli__"):
        return page
    page += f"/runs/{urllib.parse.quote(run_id, safe='')}"
    return f"{page}/tasks/{urllib.parse.quote(task_id, safe='')}" if task_id else page


class _Book:
    """The comparison of what should be open with what is, inside one transaction."""

    def __init__(
        self,
        cursor: psycopg2.extensions.cursor,
        settings: Settings,
        run_id: str,
        dag_id: str,
        tasks_of: str,
        channels: list[str],
    ) -> None:
        self.cursor = cursor
        self.settings = settings
        self.run_id = run_id
        self.dag_id = dag_id
        self.tasks_of = tasks_of
        self.channels = channels

    def compare(
        self, failures: Iterable[TaskFailure], successes: frozenset[str], late_run: LateRun | None
    ) -> tuple[list[str], list[str]]:
        """Open what is missing, close what is over. Returns both lists of titles."""
        from_state = [*self._refused(), *self._expectations(), *self._stale(), *self._missing()]
        desired = [*from_state, *self._tasks(failures), *self._late(late_run)]
        opened = [incident.title for incident in desired if self._open(incident)]
        keys = {incident.key for incident in desired}
        closed = [
            title
            for key, title in self._open_ones()
            if self._is_over(key, keys, successes) and self._close(key)
        ]
        return opened, closed

    # ---- what should be open -----------------------------------------------------------------------------

    def _refused(self) -> Iterator[Incident]:
        contracts = read_contracts(self.settings.contracts_dir)
        self.cursor.execute(
            """
            select source, entity, business_date, path, version, rows_read, rows_rejected, message, run_id
            from raw.load_ledger
            where is_current and status = 'refused'
            order by source, path
            """
        )
        for source, entity, date, path, version, read, rejected, message, run_id in self.cursor.fetchall():
            contract = contracts.get(source, {}).get(entity)
            severity: Severity = contract.refusal_severity if contract else "critical"
            effect = (
                "The run stops before anything is built; marts stays as it was. The other files are loaded."
                if severity == "critical"
                else "The run goes on without this file."
            )
            yield Incident(
                kind=Kind.FILE_REFUSED,
                scope=source,
                object=path,
                rule=RULE_REFUSED,
                severity=severity,
                title=f"File refused: {source} {path}",
                body=_sections(
                    happened=f"{_stop(message or 'The file was refused')} None of its rows are loaded. "
                    f"{effect}",
                    where=[
                        f"file {path} (source {source}, entity {entity}, business date {date}, version "
                        f"{version})",
                        f"{rejected:,} of {read:,} rows rejected; `ecommerce-dw rejects` lists them"
                        if rejected
                        else "",
                    ],
                    todo="Send a corrected file under the same path; or take it although too many rows fail "
                    f"(never with a wrong header): `ecommerce-dw accept {path}`; or leave it out: "
                    f"`ecommerce-dw discard {path}`. Then run the day again.",
                    run_id=run_id or self.run_id,
                ),
                link=run_link(self.settings, run_id or self.run_id, self.dag_id),
            )

    def _expectations(self) -> Iterator[Incident]:
        """Failed expectations of each checkpoint's latest validation.

        A checkpoint that a run did not reach leaves its incidents as they are.
        """
        self.cursor.execute(
            """
            with latest as (
                select distinct on (checkpoint) checkpoint, run_id
                from ops.expectation_results
                order by checkpoint, result_id desc
            )
            select r.checkpoint, r.object, r.name, r.severity, r.message, r.run_id
            from latest as l
            join ops.expectation_results as r using (checkpoint, run_id)
            where not r.is_success and not r.is_accepted and r.severity in ('critical', 'warning')
                -- a refused file's own incident speaks for it
                and r.name <> all(%s)
            order by r.result_id
            """,
            (list(REFUSALS),),
        )
        for checkpoint, table, name, severity, message, run_id in self.cursor.fetchall():
            effect = {
                "raw": "nothing was built from the loads since the last publication",
                "warehouse": "no mart was built",
                "marts": "nothing was published",
            }[checkpoint]
            yield Incident(
                kind=Kind.EXPECTATION_CRITICAL if severity == "critical" else Kind.EXPECTATION_WARNING,
                scope=self.dag_id,
                object=f"{checkpoint}.{table}",
                rule=name,
                severity=severity,
                title=f"Expectation failed ({severity}): {name}",
                body=_sections(
                    happened=(
                        f"Checkpoint {checkpoint} stopped the run: {effect}; marts stays as it was."
                        if severity == "critical"
                        else f"Checkpoint {checkpoint} warned; the run went on."
                    ),
                    where=[message or name],
                    todo=f'When the data is right as it is: `ecommerce-dw accept --expectation "{name}"`. '
                    "Then run the day again."
                    if severity == "critical"
                    else "",
                    run_id=run_id,
                ),
                link=run_link(self.settings, run_id, self.dag_id, f"check_{checkpoint}"),
            )

    def _stale(self) -> Iterator[Incident]:
        """Stale sources, as of the latest business date they were checked for.

        By business date and not by time: a run for a past day says nothing about today.
        """
        self.cursor.execute(
            """
            with latest as (
                select distinct on (source) *
                from ops.source_freshness
                order by source, business_date desc, checked_at desc
            )
            select source, business_date, max_loaded_date, staleness_days, run_id
            from latest
            where status = 'stale'
            order by source
            """
        )
        for source, date, newest, days, run_id in self.cursor.fetchall():
            yield Incident(
                kind=Kind.SOURCE_STALE,
                scope=source,
                object=source,
                rule=RULE_STALE,
                severity="warning",
                title=f"Source stale: {source} has no data since {newest}",
                body=_sections(
                    happened=f"The newest loaded file of {source} is of {newest}, {days} days before {date}, "
                    "the day the run is about. Its contract allows less. The run went on; what is published "
                    f"for {source} ends there.",
                    where=[f"landing zone {self.settings.landing_address(source)}"],
                    todo="See whether the producer's files arrived in the landing zone under the names the "
                    "contract gives (`ecommerce-dw status` lists what it ignores). Late files are picked "
                    "up by the next run.",
                    run_id=run_id,
                ),
                link=run_link(self.settings, run_id, self.dag_id),
            )

    def _missing(self) -> Iterator[Incident]:
        """Entities that stay away while their source delivers, as of its latest business date.

        An entity that was never delivered is not in use; that of a stale source has that one's incident.
        """
        contracts = read_contracts(self.settings.contracts_dir)
        self.cursor.execute(
            f"""
            with latest as (
                select distinct on (source) *
                from ops.source_freshness
                order by source, business_date desc, checked_at desc
            )
            select c.source, l.entity, c.business_date, max(l.business_date), c.max_loaded_date, c.run_id
            from latest as c
            join raw.load_ledger as l using (source)
            where c.status in ('fresh', 'warn') and {in_effect("l")} and l.business_date <= c.business_date
            group by c.source, l.entity, c.business_date, c.max_loaded_date, c.run_id
            order by c.source, l.entity
            """
        )
        for source, entity, date, newest, source_newest, run_id in self.cursor.fetchall():
            contract = contracts.get(source, {}).get(entity)
            allowed = contract.max_staleness_days if contract else None
            if contract is None or allowed is None or (date - newest).days <= allowed:
                continue
            yield Incident(
                kind=Kind.ENTITY_MISSING,
                scope=source,
                object=entity,
                rule=RULE_MISSING,
                severity="warning",
                title=f"Entity missing: {source} has no {entity} since {newest}",
                body=_sections(
                    happened=f"The newest loaded file of {entity} is of {newest}, while {source} has "
                    f"delivered up to {source_newest}. Its contract allows {allowed} days before the day the "
                    f"run is about ({date}). The run went on; what is published shows the days since then "
                    f"without {entity}.",
                    where=[f"files {contract.layout.pattern} in {self.settings.landing_address(source)}"],
                    todo="See whether the producer's export of this entity failed, or its files have other "
                    "names than the contract gives (`ecommerce-dw load` lists what no contract names). Late "
                    "files are picked up by the next run.",
                    run_id=run_id,
                ),
                link=run_link(self.settings, run_id, self.dag_id),
            )

    def _late(self, late: LateRun | None) -> Iterator[Incident]:
        if late is None or is_done(self.cursor, late.business_date):
            return
        self.cursor.execute(
            "select r.business_date, p.published_at from ops.publications as p join ops.runs as r "
            "using (run_id) order by p.publication_id desc limit 1"
        )
        published = self.cursor.fetchone()
        self.cursor.execute("select status from ops.runs where run_id = %s", (late.run_id,))
        began = self.cursor.fetchone()
        state = f"is {began[0]}" if began else "has not begun" if late.run_id else "was never started"
        yield Incident(
            kind=Kind.RUN_LATE,
            scope=self.dag_id,
            object=late.business_date.isoformat(),
            rule=RULE_LATE,
            severity="critical",
            title=f"Run late: {late.business_date} is not published, due by {late.due_at:%H:%M} UTC",
            body=_sections(
                happened=f"The nightly run about {late.business_date} {state}; it had to be finished by "
                f"{late.due_at:%Y-%m-%d %H:%M} UTC. "
                + (
                    f"Readers of marts see the state up to {published[0]}, published at "
                    f"{published[1]:%Y-%m-%d %H:%M} UTC."
                    if published
                    else "Nothing was ever published."
                ),
                where=[f"DAG {self.dag_id}" + (f", run {late.run_id}" if late.run_id else "")],
                todo="Open the run: a task that waits for a try has failed before, its log says why; one "
                "that runs for long may wait for a lock (the page below shows who holds it). Where there is "
                "no run: is the DAG paused, does every component run (`./deploy.sh status`)? A run that ends "
                "well closes this, whoever starts it.",
                run_id=late.run_id or self.run_id,
            ),
            link=run_link(self.settings, late.run_id or "cli__", self.dag_id),
        )

    def _tasks(self, failures: Iterable[TaskFailure]) -> Iterator[Incident]:
        for failure in failures:
            yield Incident(
                kind=_TASK_KINDS.get((self.tasks_of, failure.task_id), Kind.TASK_FAILED),
                scope=self.tasks_of,
                object=failure.task_id,
                rule=RULE_TASK,
                severity="critical",
                title=f"Task failed: {self.tasks_of}.{failure.task_id}",
                body=_sections(
                    happened=f"Task {failure.task_id} failed after its retries; the tasks after it did not "
                    "run. What was committed before is kept, marts is as it was unless publish itself had "
                    "succeeded.",
                    where=[failure.message],
                    todo="Read the task's log (link below), remove the cause, then clear the task in "
                    "Airflow: it and what follows it run again. The DAG's page has a hint for each task.",
                    run_id=self.run_id,
                ),
                link=run_link(self.settings, self.run_id, self.tasks_of, failure.task_id),
            )

    # ---- what is open ------------------------------------------------------------------------------------

    def _open_ones(self) -> list[tuple[tuple[str, str, str], str]]:
        self.cursor.execute(
            "select scope, object, rule, title from ops.incidents where closed_at is null "
            "order by incident_id"
        )
        return [((scope, name, rule), title) for scope, name, rule, title in self.cursor.fetchall()]

    def _is_over(
        self, key: tuple[str, str, str], desired: set[tuple[str, str, str]], successes: frozenset[str]
    ) -> bool:
        if key in desired:
            return False
        scope, name, rule = key
        if rule == RULE_TASK:
            # Nothing in the warehouse tells that a task works again, only its success.
            return scope == self.tasks_of and name in successes
        if rule == RULE_LATE:
            return is_done(self.cursor, dt.date.fromisoformat(name))
        return True

    def _open(self, incident: Incident) -> bool:
        self.cursor.execute(
            """
            insert into ops.incidents (scope, object, rule, severity, title, opened_run_id)
            values (%s, %s, %s, %s, %s, %s)
            on conflict (scope, object, rule) where closed_at is null do nothing
            returning incident_id
            """,
            (*incident.key, incident.severity, incident.title, self.run_id),
        )
        row = self.cursor.fetchone()
        if row is None:
            return False
        body = f"{incident.body}\n\nRunbook: {incident.kind.runbook}"
        self._alert(row[0], "opened", incident.severity, incident.title, body, incident.link)
        return True

    def _close(self, key: tuple[str, str, str]) -> bool:
        self.cursor.execute(
            """
            update ops.incidents
            set closed_at = clock_timestamp(), closed_run_id = %s
            where scope = %s and object = %s and rule = %s and closed_at is null
            returning incident_id, severity, title, opened_at, opened_run_id
            """,
            (self.run_id, *key),
        )
        row = self.cursor.fetchone()
        if row is None:
            return False
        incident_id, severity, title, opened_at, opened_run_id = row
        body = _sections(
            happened=f"{self._how_it_ended(key)} The incident was open since {opened_at:%Y-%m-%d %H:%M} UTC "
            f"(run {opened_run_id}).",
            where=[],
            todo="Nothing." if key[2] != RULE_REFUSED else "Nothing; the next run takes it in.",
            run_id=self.run_id,
        )
        self._alert(incident_id, "closed", severity, f"Recovered: {title}", body, self._link())
        return True

    def _how_it_ended(self, key: tuple[str, str, str]) -> str:
        scope, name, rule = key
        if rule == RULE_TASK:
            return f"Task {name} succeeded."
        if rule == RULE_STALE:
            return f"Data of {scope} arrives again."
        if rule == RULE_MISSING:
            return f"{name} of {scope} arrive again."
        if rule == RULE_LATE:
            return f"What there is about {name} is published."
        if rule == RULE_REFUSED:
            self.cursor.execute(
                "select status, version, rows_loaded from raw.load_ledger "
                "where source = %s and path = %s and is_current",
                (scope, name),
            )
            row = self.cursor.fetchone()
            if row and row[0] == "loaded":
                return f"{name} is loaded (version {row[1]}, {row[2]:,} rows)."
            return f"{name} is settled ({row[0] if row else 'no longer in the ledger'})."
        self.cursor.execute(
            "select is_accepted, is_success from ops.expectation_results where name = %s "
            "order by result_id desc limit 1",
            (rule,),
        )
        row = self.cursor.fetchone()
        if row and row[0]:
            return f"A person accepted that {rule} does not hold for what was loaded so far."
        if row and row[1]:
            return f"{rule} holds for everything touched since the last publication."
        return f"{rule} is no longer checked."

    def _link(self) -> str:
        return run_link(self.settings, self.run_id, self.dag_id)

    def _alert(self, incident_id: int, kind: str, severity: str, title: str, body: str, link: str) -> None:
        waiting: dict[str, Any] = {name: {"status": "pending", "attempts": 0} for name in self.channels}
        self.cursor.execute(
            """
            insert into ops.alerts (incident_id, kind, severity, title, body, link, run_id, deliveries)
            values (%s, %s, %s, %s, %s, %s, %s, %s)
            """,
            (incident_id, kind, severity, title, body, link, self.run_id, Json(waiting)),
        )


def _sections(*, happened: str, where: Iterable[str], todo: str, run_id: str) -> str:
    details = [line for line in where if line]
    parts = [f"What happened: {happened}"]
    if details:
        parts.append("Where: " + "\n".join(details))
    if todo:
        parts.append(f"What to do: {todo}")
    parts.append(f"Run: {run_id}")
    return "\n\n".join(parts)


def _stop(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
