"""The warehouse's figures for Prometheus: what `ecommerce-dw status` tells, one query at each scrape."""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

import psycopg2
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ecommerce_dw import db
from ecommerce_dw.alerts.delivery import WAITS
from ecommerce_dw.loading.ledger import in_effect
from ecommerce_dw.settings import Settings

_logger = logging.getLogger(__name__)

PREFIX = "ecommerce_dw_"


@dataclass(frozen=True)
class Figure:
    """A figure of the warehouse.

    Attributes:
        name: Of the gauge, without the prefix `ecommerce_dw_`.
        help: What it is, with its unit.
        label: Name of its label, or None.
    """

    name: str
    help: str
    label: str | None = None


#: Every figure but `up`. Times are points in time (seconds since 1970), so an age is `time() - figure`.
FIGURES = (
    Figure("last_success_timestamp_seconds", "When the last run that succeeded ended. None yet: no value."),
    Figure("last_run_failed", "1: the latest run failed. 0: it succeeded, or is running."),
    Figure("last_publication_timestamp_seconds", "When marts was last published. Never: no value."),
    Figure("source_as_of_timestamp_seconds", "Midnight UTC of the newest day that is loaded.", "source"),
    Figure("source_staleness_days", "Days behind the latest day it was checked for.", "source"),
    Figure("source_is_stale", "1: further behind than its contracts allow.", "source"),
    Figure("files_loaded", "Files whose rows are in the tables.", "source"),
    Figure("files_refused", "Refused files that nobody has settled.", "source"),
    Figure("rows_loaded", "Rows of the loaded files.", "source"),
    Figure("rows_rejected", "Rows of the loaded files that were rejected.", "source"),
    Figure("rejects_unresolved", "Rejected rows that no file has settled.", "source"),
    Figure("open_incidents", "Incidents that are not over.", "severity"),
    Figure("unsent_alerts", "Alerts that a channel has not taken yet."),
    Figure("database_bytes", "Size of the warehouse's database."),
)

_QUERY = f"""
with ledger as (
    select l.source, l.business_date, l.rows_loaded, l.rows_rejected, l.is_current, l.status,
        {in_effect("l")} as is_in_effect
    from raw.load_ledger as l
),
sources as (
    select
        source,
        max(business_date) filter (where is_in_effect) as as_of,
        count(*) filter (where is_in_effect) as files_loaded,
        count(*) filter (where is_current and status = 'refused') as files_refused,
        coalesce(sum(rows_loaded) filter (where is_in_effect), 0) as rows_loaded,
        coalesce(sum(rows_rejected) filter (where is_in_effect), 0) as rows_rejected,
        (select count(*) from raw.rejected_rows as r where r.source = ledger.source and r.resolved_by is null)
            as rejects_unresolved
    from ledger
    group by source
),
checked as (
    select distinct on (source) source, status, staleness_days
    from ops.source_freshness
    order by source, business_date desc, checked_at desc
),
figures (name, label, value) as (
    select 'last_success_timestamp_seconds', null, extract(epoch from max(finished_at))
    from ops.runs
    where status = 'succeeded'
    union all
    (
        select 'last_run_failed', null, (status = 'failed')::integer
        from ops.runs
        order by started_at desc, run_seq desc
        limit 1
    )
    union all
    select 'last_publication_timestamp_seconds', null, extract(epoch from max(published_at))
    from ops.publications
    union all
    select f.name, s.source, f.value
    from sources as s
    cross join lateral (
        values
            ('source_as_of_timestamp_seconds', extract(epoch from s.as_of::timestamp)),
            ('files_loaded', s.files_loaded),
            ('files_refused', s.files_refused),
            ('rows_loaded', s.rows_loaded),
            ('rows_rejected', s.rows_rejected),
            ('rejects_unresolved', s.rejects_unresolved)
    ) as f (name, value)
    union all
    select f.name, c.source, f.value
    from checked as c
    join sources using (source)
    cross join lateral (
        values
            ('source_staleness_days', c.staleness_days),
            ('source_is_stale', (c.status = 'stale')::integer)
    ) as f (name, value)
    union all
    select 'open_incidents', s.severity, count(i.incident_id)
    from (values ('critical'), ('warning')) as s (severity)
    left join ops.incidents as i on i.severity = s.severity and i.closed_at is null
    group by s.severity
    union all
    select 'unsent_alerts', null, count(*) from ops.alerts as a where {WAITS}
    union all
    select 'database_bytes', null, pg_database_size(current_database())
)
select name, label, value::double precision from figures where value is not null order by name, label
"""


def read_figures(settings: Settings) -> list[tuple[str, str | None, float]]:
    """Name, label's value and value of every figure that there is, by one query.

    Raises:
        psycopg2.Error: The warehouse does not answer, has no tables yet, or does not let us read them.
    """
    with db.transaction(settings.metrics_role, settings=settings) as cursor:
        cursor.execute("set local statement_timeout to '10s'")
        cursor.execute(_QUERY)
        return cursor.fetchall()


class WarehouseCollector(Collector):
    """Reads the figures anew at each scrape.

    Without an answer there is `ecommerce_dw_up 0` and no other figure: an old one would look like a new one.
    The reason is logged, once for as long as it stays the same.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reason: str | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry would ask the warehouse when it is made."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The figures, and whether there are any."""
        rows: Sequence[tuple[str, str | None, float]] = ()
        reason = None
        try:
            rows = read_figures(self._settings)
        except psycopg2.Error as error:
            reason = explain(self._settings, error)
        self._tell(reason)
        yield GaugeMetricFamily(
            f"{PREFIX}up", "1: the warehouse answers. 0: the log says why not.", float(reason is None)
        )
        for figure in FIGURES if reason is None else ():
            labels = [figure.label] if figure.label else []
            gauge = GaugeMetricFamily(PREFIX + figure.name, figure.help, labels=labels)
            for name, label, value in rows:
                if name == figure.name:
                    gauge.add_metric([label or ""] if figure.label else [], value)
            yield gauge

    def _tell(self, reason: str | None) -> None:
        if reason != self._reason:
            _logger.warning(reason or "The warehouse answers again.")
        self._reason = reason


def explain(settings: Settings, error: psycopg2.Error) -> str:
    """Why there are no figures, and what to do."""
    where = f"{settings.warehouse_db} at {settings.host}:{settings.warehouse_port}"
    text = " ".join(str(error).split())
    if isinstance(error, psycopg2.errors.UndefinedTable):
        return f"The warehouse {where} has no tables yet: `ecommerce-dw migrate` makes them. ({text})"
    if isinstance(error, psycopg2.OperationalError):
        return f"The warehouse {where} does not answer as {settings.metrics_role}: {text}"
    return f"The figures of the warehouse {where} can't be read as {settings.metrics_role}: {text}"


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        _logger.debug(format, *args)


@contextlib.contextmanager
def metrics_server(settings: Settings, host: str, port: int) -> Iterator[WSGIServer]:
    """A server of `/metrics`, and of `/-/healthy`, which does not ask the warehouse; bound, not yet serving.

    Args:
        settings: Whose warehouse.
        host: Address to listen on.
        port: Its port; 0 takes a free one, which `server_port` tells.

    Raises:
        OSError: The address can't be listened on.
    """
    registry = CollectorRegistry()
    registry.register(WarehouseCollector(settings))
    metrics = make_wsgi_app(registry)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        found = path == "/-/healthy"
        start_response("200 OK" if found else "404 Not Found", [("Content-Type", "text/plain")])
        return [b"at work\n" if found else b"The figures are at /metrics.\n"]

    with (_Server6 if ":" in host else _Server)((host, port), _QuietHandler) as server:
        server.set_app(application)
        yield server
