"""Reading days again that are loaded already: what that would change, and doing it.

The plan changes nothing. The real thing is a run of the pipeline whose `load` makes a new version of each
chosen file, so the same checks, locks and publication stand between it and the readers.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import psycopg2.extensions
from psycopg2 import sql

from ecommerce_dw import db, pipeline
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.loading.dating import date_files
from ecommerce_dw.loading.discover import LandedFile, discover
from ecommerce_dw.loading.landing import landing_of
from ecommerce_dw.loading.ledger import Known, in_effect, is_settled, is_to_be_tried_again, read_known
from ecommerce_dw.loading.reload import Reload
from ecommerce_dw.loading.stream import hash_file
from ecommerce_dw.one_process import Step, alone, steps_after_load, take
from ecommerce_dw.settings import Settings

_logger = logging.getLogger(__name__)

Action = Literal["again", "new", "changed", "refused before", "set aside", "gone"]

#: What each action means for a file's rows.
ACTIONS: Mapping[Action, str] = {
    "again": "loaded already, read again as a new version",
    "new": "not loaded yet, loaded",
    "changed": "other bytes than those that are loaded, replaced",
    "refused before": "refused before, tried again",
    "set aside": "discarded or withdrawn by a person, left alone",
    "gone": "not in the landing zone any more, its rows stay",
}
#: What is not read again.
_LEFT: tuple[Action, ...] = ("set aside", "gone")
#: How rows of built tables are found, the most specific key first.
_KEYS = ("order_id", "customer_id", "product_id")


@dataclass(frozen=True)
class PlannedFile:
    """A file that was asked for, and what becomes of it.

    Attributes:
        source, entity, business_date, path: Whose, of which day, where in the landing zone.
        action: See `ACTIONS`.
        rows: Of it in raw now.
    """

    source: str
    entity: str
    business_date: dt.date
    path: str
    action: Action
    rows: int


@dataclass(frozen=True)
class TableEffect:
    """Rows of one table that are computed again; they change only where the outcome differs.

    Attributes:
        layer: Schema.
        table: Name.
        rows: How many of them there are now.
        of: Rows in the table.
        by: How they are found: a key, or that everything is built again.
    """

    layer: str
    table: str
    rows: int
    of: int
    by: str


@dataclass(frozen=True)
class Plan:
    """What reprocessing would do.

    Attributes:
        reload: What was asked for.
        is_full_refresh: Whether everything is built again from raw.
        business_date: The day the run will be about: no file of a later day is loaded.
        files: Those asked for.
        other_files: Files not asked for that the run loads as well, because they are not loaded in their
            present form.
        keys: Source and key → how many different ones are in the rows that raw has of these files.
        days: First and last order date among them, and how many days; None without orders.
        tables: What is computed again, by layer.
    """

    reload: Reload
    is_full_refresh: bool
    business_date: dt.date | None
    files: tuple[PlannedFile, ...]
    other_files: tuple[str, ...]
    keys: Mapping[str, int]
    days: tuple[dt.date, dt.date, int] | None
    tables: tuple[TableEffect, ...]

    @property
    def changes_anything(self) -> bool:
        """Whether a run would do anything."""
        return self.is_full_refresh or any(file.action not in _LEFT for file in self.files)

    def conf(self) -> dict[str, Any]:
        """The parameters of the pipeline's run that does it."""
        return {
            "business_date": self.business_date and self.business_date.isoformat(),
            "source": self.reload.source or "all",
            "full_refresh": self.is_full_refresh,
            "reload": self.reload.as_dict(),
        }

    def as_dict(self) -> dict[str, Any]:
        """The plan for machines."""
        return asdict(self)

    def markdown(self) -> str:
        """The plan for people."""
        return "\n".join(self._markdown())

    def _markdown(self) -> Iterator[str]:
        chosen = self.reload
        what = f"{', '.join(chosen.entities) or 'all entities'} of {chosen.source or 'all sources'}"
        yield f"**Reprocess {what}, {chosen.first} to {chosen.last}**"
        if self.is_full_refresh:
            yield "Everything is built again from raw (full refresh)."
        yield ""
        if not self.files:
            yield "There are no files of these days."
        groups: dict[tuple[str, str, Action], list[PlannedFile]] = {}
        for file in self.files:
            groups.setdefault((file.source, file.entity, file.action), []).append(file)
        if groups:
            yield "| files | days | rows in raw now | what becomes of them |"
            yield "|---|---|---|---|"
        for (source, entity, action), files in sorted(groups.items()):
            days = sorted({file.business_date for file in files})
            span = str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]} ({len(days)} days)"
            yield (
                f"| {len(files)} of {source}.{entity} | {span} | {sum(file.rows for file in files):,} | "
                f"{ACTIONS[action]} |"
            )
        if self.other_files:
            yield ""
            yield (
                f"Not asked for, but not loaded in their present form, so the run (about "
                f"{self.business_date}) loads them too: {len(self.other_files)} files, "
                f"{', '.join(self.other_files[:3])}{' …' if len(self.other_files) > 3 else ''}"
            )
        if self.keys:
            yield ""
            touched = ", ".join(f"{count:,} {key}" for key, count in self.keys.items())
            yield f"Keys in these rows: {touched}." + (
                f" Orders of {self.days[2]} days ({self.days[0]} to {self.days[1]})." if self.days else ""
            )
        if self.tables:
            yield ""
            yield "| computed again (changes only where the outcome differs) | rows | of | found by |"
            yield "|---|---|---|---|"
            for table in self.tables:
                yield f"| {table.layer}.{table.table} | {table.rows:,} | {table.of:,} | {table.by} |"
        if self.keys and any(file.action in ("new", "changed", "refused before") for file in self.files):
            yield ""
            yield "What new and changed files will bring is not in these numbers: nobody has read them."


def plan(settings: Settings, reload: Reload, *, is_full_refresh: bool = False) -> Plan:
    """Say which files, days and rows would change, and change nothing.

    Raises:
        ValueError: The choice names nothing; the message says what there is.
    """
    contracts = read_contracts(settings.contracts_dir)
    reload.check(contracts)
    if reload.source is not None:
        contracts = {reload.source: contracts[reload.source]}
    connection = db.connect("transformer", settings=settings)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("create temporary table touched (source_system text, name text, key text)")
        connection.set_session(readonly=True)
        with connection, connection.cursor() as cursor:
            cursor.execute(f"select max(business_date) from raw.load_ledger as l where {in_effect('l')}")
            (newest,) = cursor.fetchone() or (None,)
            business_date = max(filter(None, (newest, reload.last)))
            cursor.execute("select file_id, rows_loaded from raw.load_ledger where status = 'loaded'")
            rows: dict[int, int] = dict(cursor.fetchall())
            files: list[PlannedFile] = []
            others: list[str] = []
            for source, entities in sorted(contracts.items()):
                known = read_known(connection, source)
                landed = date_files(discover(landing_of(settings, source), entities), known).files
                chosen = _chosen(source, landed, known, reload, rows)
                files += chosen
                others += [
                    f"{source}: {file.path}"
                    for file in landed
                    if (file.business_date or business_date) <= business_date
                    and not reload.covers(file)
                    and (file.path not in known or not is_settled(known[file.path], file))
                ]
                for contract in entities.values():
                    ids = [
                        known[file.path].live_file_id
                        for file in chosen
                        if file.entity == contract.entity and file.action not in _LEFT and file.rows
                    ]
                    if ids:  # of an entity of which nothing was loaded there may be no table yet
                        _collect_keys(cursor, contract, ids)
            cursor.execute(
                "select name, count(distinct (source_system, key)) from touched group by name order by name"
            )
            keys = dict(cursor.fetchall())
            tables = tuple(_effects(cursor, is_full_refresh=is_full_refresh))
            days = _days(cursor)
    finally:
        connection.close()
    files.sort(key=lambda file: (file.source, file.business_date, file.path))
    return Plan(
        reload=reload,
        is_full_refresh=is_full_refresh,
        business_date=business_date,
        files=tuple(files),
        other_files=tuple(others),
        keys=keys,
        days=days,
        tables=tables,
    )


def reprocess(
    settings: Settings,
    planned: Plan,
    *,
    run_id: str,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, object]:
    """Do it, in this process: the pipeline's steps, from load to publish, then the alerts.

    A nightly run that would start meanwhile waits with its first step until this one has ended.

    Args:
        settings: Whose warehouse.
        planned: What to do.
        run_id: Name of the run in `ops.runs`.
        progress: Called with each step before it starts.

    Returns:
        What `load` and `publish` returned.

    Raises:
        ecommerce_dw.one_process.RunIsGoingError: A run of the pipeline is going.
        ecommerce_dw.pipeline.CheckFailedError: A checkpoint stopped it; `marts` is as it was.
        ecommerce_dw.transform.BuildError: A layer did not build; `marts` is as it was.
    """
    conf = planned.conf()
    steps: Sequence[Step] = (
        (
            "load",
            lambda: pipeline.load_files(
                settings,
                run_id=run_id,
                business_date=planned.business_date,
                source=planned.reload.source,
                is_full_refresh=planned.is_full_refresh,
                reload=planned.reload,
            ),
        ),
        *steps_after_load(settings, run_id),
    )
    _logger.info("Reprocessing %s", conf)

    @contextmanager
    def told(name: str) -> Iterator[None]:
        progress(name)
        yield

    with alone(f"reprocess ({run_id})", settings):
        results = take(steps, settings, run_id, around=told)
    return {name: results[name] for name in ("load", "publish")}


def _chosen(
    source: str,
    landed: Iterable[LandedFile],
    known: Mapping[str, Known],
    reload: Reload,
    rows: Mapping[int, int],
) -> list[PlannedFile]:
    """The files that were asked for: those in the landing zone, and those that are gone from it."""

    def rows_of(path: str) -> int:
        file_id = known[path].live_file_id if path in known else None
        return rows.get(file_id, 0) if file_id is not None else 0

    chosen = {file.path: file for file in landed if reload.covers(file)}
    present = {file.path for file in landed}
    files = [
        PlannedFile(
            source, file.contract.entity, file.business_date, path, _action(file, known.get(path)),
            rows_of(path),
        )
        for path, file in chosen.items()
        if file.business_date is not None
    ]  # fmt: skip
    for path, entry in known.items():
        date = entry.business_date
        is_asked = reload.covers_entity(source, entry.entity) and date is not None
        if is_asked and path not in present and entry.live_file_id is not None:
            assert date is not None
            if reload.first <= date <= reload.last:
                files.append(PlannedFile(source, entry.entity, date, path, "gone", rows_of(path)))
    return files


def _action(file: LandedFile, entry: Known | None) -> Action:
    if entry is None:
        return "new"
    if entry.bytes != file.bytes or hash_file(file.location) != entry.sha256:
        return "changed"
    if entry.status == "refused" or is_to_be_tried_again(entry, file):
        return "refused before"
    return "set aside" if entry.status in ("discarded", "withdrawn") else "again"


def _collect_keys(
    cursor: psycopg2.extensions.cursor, contract: Contract, file_ids: Sequence[int | None]
) -> None:
    """Collect the keys of these files' rows in the temporary table `touched`."""
    for name in set(contract.touch_keys) & set(_KEYS):
        cursor.execute(
            sql.SQL(
                "insert into touched select distinct %s, %s, {key}::text from raw.{table} "
                "where _file_id = any(%s::bigint[]) and {key} is not null"
            ).format(key=sql.Identifier(name), table=sql.Identifier(contract.table)),
            (contract.source, name, list(file_ids)),
        )


def _effects(cursor: psycopg2.extensions.cursor, *, is_full_refresh: bool) -> Iterator[TableEffect]:
    """Rows of the built tables that hang on the keys in `touched`."""
    cursor.execute(
        """
        select c.table_schema, c.table_name, array_agg(c.column_name::text)
        from information_schema.columns as c
        join information_schema.tables as t using (table_schema, table_name)
        where c.table_schema in ('warehouse', 'marts') and t.table_type = 'BASE TABLE'
        group by c.table_schema, c.table_name
        having bool_or(c.column_name = 'source_system')
        order by c.table_schema desc, c.table_name
        """
    )
    for layer, table, columns in cursor.fetchall():
        key = next((name for name in _KEYS if name in columns), None)
        if key is None and not is_full_refresh:
            continue
        condition: sql.Composable = sql.SQL("true")
        if not is_full_refresh and key is not None:
            condition = sql.SQL(
                "(t.source_system, t.{key}) in (select source_system, key from touched where name = {name})"
            ).format(key=sql.Identifier(key), name=sql.Literal(key))
        cursor.execute(
            sql.SQL("select count(*) filter (where {condition}), count(*) from {table} as t").format(
                condition=condition, table=sql.Identifier(layer, table)
            )
        )
        rows, of = cursor.fetchone() or (0, 0)
        if rows:
            yield TableEffect(layer, table, rows, of, "everything" if is_full_refresh else str(key))


def _days(cursor: psycopg2.extensions.cursor) -> tuple[dt.date, dt.date, int] | None:
    """First and last date of the orders in `touched`, and how many days have one."""
    cursor.execute("select to_regclass('warehouse.fact_orders') is not null")
    (is_built,) = cursor.fetchone() or (False,)
    if not is_built:
        return None
    cursor.execute(
        """
        select min(order_date), max(order_date), count(distinct order_date)
        from warehouse.fact_orders
        where (source_system, order_id) in (
            select source_system, key from touched where name = 'order_id'
        )
        """
    )
    first, last, count = cursor.fetchone() or (None, None, 0)
    return (first, last, count) if first else None
