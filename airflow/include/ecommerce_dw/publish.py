"""Publication: bring schema `marts` to the validated content of `marts_build`, in one transaction.

Only rows that differ are inserted, updated or deleted, so that a reader (one statement, or one REPEATABLE
READ transaction) sees one whole state at any moment, before, during and after: TRUNCATE, REFRESH and a swap
of tables would each show such a reader an empty or a mixed state.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from ecommerce_dw import db, roles
from ecommerce_dw.settings import Settings, get_settings

log = logging.getLogger(__name__)

BUILD = "marts_build"
MARTS = "marts"
MASKED = "masked"
#: A right on a relation: who, which, and the column it is confined to, or None; names quoted as SQL wants.
_Grant: TypeAlias = tuple[str, str, str | None]
#: Name of a table's mark in `ops.model_marks`: how far it has been published.
MARK_PREFIX = "publication:"
#: Joins the parts of a key of several columns in `ops.touched.key`.
KEY_SEPARATOR = "|"


class PublishError(RuntimeError):
    """Nothing was published; `marts` is as it was. The message says why and what to do."""


@dataclass(frozen=True)
class TablePublication:
    """What a publication did to one table.

    Attributes:
        name: Its name in schema `marts`.
        is_full: Whether every row was compared, or only those touched since the last publication.
        inserted: Rows inserted.
        updated: Rows updated.
        deleted: Rows deleted.
        notes: Changes of the table itself, e.g. `table made`, `column margin_amount added`.
    """

    name: str
    is_full: bool
    inserted: int
    updated: int
    deleted: int
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> int:
        """Rows that are not as they were."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True)
class PublishSummary:
    """What a publication did.

    Attributes:
        run_id: The run it belongs to, None for one from a shell.
        load_id_to: Greatest load id contained in what was published; None when no mart keeps a mark.
        tables: One entry per published table, by name.
        dropped: Tables that were dropped because their model is gone (`prune`).
        warnings: What a person should look at.
    """

    run_id: str | None
    load_id_to: int | None
    tables: tuple[TablePublication, ...]
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> int:
        """Rows changed over all tables."""
        return sum(table.changed for table in self.tables)


@dataclass(frozen=True)
class _Column:
    name: str
    type: str
    is_required: bool


@dataclass(frozen=True)
class _Shape:
    """A table's columns in order and its primary key."""

    columns: tuple[_Column, ...]
    key: tuple[str, ...]

    @property
    def types(self) -> dict[str, str]:
        return {column.name: column.type for column in self.columns}

    @property
    def joined_key(self) -> tuple[str, ...]:
        """The parts of the key that `ops.touched.key` joins; the source system has its own column there."""
        return tuple(name for name in self.key if name != "source_system")


@dataclass(frozen=True)
class _Mark:
    """How far a model or a publication has come: in the loads, and in `ops.touched`."""

    load_id: int
    touched_seq: int


@dataclass(frozen=True)
class _View:
    """A view over a published table: all that is needed to make it again."""

    name: str
    kind: str
    definition: str
    comment: str | None
    owner: str
    grants: tuple[_Grant, ...]


def project_marts(settings: Settings) -> frozenset[str]:
    """Names of the marts in the dbt project: dbt names a model after its file."""
    return frozenset(path.stem for path in (settings.dbt_dir / "models" / "marts").rglob("*.sql"))


def publish(
    settings: Settings | None = None,
    *,
    run_id: str | None = None,
    full: bool = False,
    replace: bool = False,
    prune: bool = False,
    models: Collection[str] | None = None,
) -> PublishSummary:
    """Publish the marts, in one transaction and under the transform lock.

    Args:
        settings: Defaults to the process's settings.
        run_id: The run this publication belongs to.
        full: Compare every row instead of those touched since the last publication.
        replace: Allow a column to change its type or to go. Views that read the table are made again; one
            that cannot be made again refuses the publication.
        prune: Drop published tables whose model is gone.
        models: Names of the marts. Defaults to those of the dbt project.

    Raises:
        PublishError: Nothing was published (see its message).
        LockHeldError: Another build or publication went on for too long.
    """
    settings = settings or get_settings()
    wanted = frozenset(project_marts(settings) if models is None else models)
    holder = f"publish{f' (run {run_id})' if run_id else ''}"
    with db.transform_lock(holder=holder, settings=settings):
        connection = db.connect(
            "transformer", settings=settings, application_name=f"ecommerce-dw: {holder}"[:63]
        )
        try:
            with _explained(settings), connection, connection.cursor() as cursor:
                # Rows alone never need a lock that readers hold; only a change of a table's columns does.
                cursor.execute("set local lock_timeout to %s", (settings.table_lock_timeout,))
                return _Publication(cursor, run_id, full, replace, prune, wanted).run()
        finally:
            connection.close()


@contextlib.contextmanager
def _explained(settings: Settings) -> Iterator[None]:
    """Turn a lock that was not free, and a missing right, into errors that say who and what."""
    try:
        yield
    except psycopg2.errors.LockNotAvailable as error:
        raise PublishError(
            f"A table of schema {MARTS} has to change its columns, or rows that somebody has locked, but was "
            f"in use for more than {settings.table_lock_wait_seconds:g} s. In use by: "
            f"{db.users_of(settings, MARTS)}. Nothing was published. Let those sessions end, then run "
            "`ecommerce-dw publish` again (setting TABLE_LOCK_WAIT_SECONDS changes the wait)."
        ) from error
    except psycopg2.errors.DependentObjectsStillExist as error:
        raise PublishError(
            f"{' '.join(str(error).split())} Nothing was published. Let those views read "
            f"schema {MARTS}, or drop them, then publish again."
        ) from error
    except psycopg2.errors.InsufficientPrivilege as error:
        raise PublishError(
            f"{str(error).splitlines()[0]}. Role {roles.PUBLISHER} must own the tables of {MARTS}, and it or "
            "transformer, where they have to be made again, the views that read them. Nothing was published. "
            "Hand the object over (`alter view ... owner to transformer`) or drop it, then publish again."
        ) from error


class _Publication:
    """One publication inside an open transaction; the caller commits."""

    def __init__(
        self,
        cursor: psycopg2.extensions.cursor,
        run_id: str | None,
        full: bool,
        replace: bool,
        prune: bool,
        models: frozenset[str],
    ) -> None:
        self.cursor = cursor
        self.run_id = run_id
        self.full = full
        self.replace = replace
        self.prune = prune
        self.models = models
        self.warnings: list[str] = []

    def run(self) -> PublishSummary:
        self.cursor.execute("set local datestyle to 'ISO, YMD'")  # dates are parts of keys
        self._adopt()
        self._become(roles.PUBLISHER)
        built = self._tables(BUILD)
        tables = [name for name in built if name in self.models]
        gone = [name for name in self._tables(MARTS) if name not in tables]
        self._refuse_missing(built)
        shapes = {name: (self._shape(BUILD, name), self._shape(MARTS, name)) for name in tables}
        self._refuse_reshaping(shapes)

        published = tuple(self._publish(name, *shapes[name]) for name in tables)
        dropped = tuple(self._drop_gone(gone))
        marks = [mark.load_id for name in tables if (mark := self._mark(name)) is not None]
        self._forget_read_touches()
        return PublishSummary(self.run_id, max(marks, default=None), published, dropped, tuple(self.warnings))

    def _become(self, role: str) -> None:
        self.cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))

    def _adopt(self) -> None:
        """Tables and views of schema marts that the transformer made, as releases before did."""
        self.cursor.execute(
            """
            select c.relname,
                case c.relkind when 'r' then 'table' when 'v' then 'view' else 'materialized view' end
            from pg_class as c
            where c.relnamespace = %s::regnamespace and c.relowner = current_user::regrole
                and c.relkind in ('r', 'v', 'm')
            order by 1
            """,
            (MARTS,),
        )
        for name, kind in self.cursor.fetchall():
            parts = {"kind": sql.SQL(kind), "name": sql.Identifier(MARTS, name)}
            self.cursor.execute(
                sql.SQL("alter {kind} {name} owner to {publisher}").format(
                    publisher=sql.Identifier(roles.PUBLISHER), **parts
                )
            )
            self._become(roles.PUBLISHER)
            for reader in ("transformer", roles.LOGGED):
                self._grant(parts["name"], (reader, "SELECT", None))
            self.cursor.execute("reset role")

    # ---- what is there -----------------------------------------------------------------------------------

    def _tables(self, schema: str) -> list[str]:
        self.cursor.execute(
            """
            select c.relname
            from pg_class as c
            join pg_namespace as n on n.oid = c.relnamespace
            where n.nspname = %s and c.relkind = 'r' and not c.relispartition
              -- dbt's leftovers of an interrupted build
              and c.relname not like '%%\\_\\_dbt\\_%%'
            order by c.relname collate "C"
            """,
            (schema,),
        )
        return [name for (name,) in self.cursor.fetchall()]

    def _shape(self, schema: str, table: str) -> _Shape | None:
        self.cursor.execute(
            """
            select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull
            from pg_attribute as a
            where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped
            order by a.attnum
            """,
            (f'{schema}."{table}"',),
        )
        columns = tuple(_Column(*row) for row in self.cursor.fetchall())
        if not columns:
            return None
        self.cursor.execute(
            """
            select a.attname
            from pg_constraint as c
            cross join unnest(c.conkey) with ordinality as k (attnum, position)
            join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = k.attnum
            where c.conrelid = to_regclass(%s) and c.contype = 'p'
            order by k.position
            """,
            (f'{schema}."{table}"',),
        )
        return _Shape(columns, tuple(name for (name,) in self.cursor.fetchall()))

    def _mark(self, model: str) -> _Mark | None:
        self.cursor.execute("select load_id, touched_seq from ops.model_marks where model = %s", (model,))
        row = self.cursor.fetchone()
        return _Mark(*row) if row else None

    # ---- what is refused ---------------------------------------------------------------------------------

    def _refuse_missing(self, built: Sequence[str]) -> None:
        missing = sorted(self.models - set(built))
        if missing:
            raise PublishError(
                f"Not built: {', '.join(f'{BUILD}.{name}' for name in missing)}. Nothing was published, "
                f"{MARTS} is as it was. Run `ecommerce-dw build --only marts`, then publish again."
            )

    def _refuse_reshaping(self, shapes: dict[str, tuple[_Shape | None, _Shape | None]]) -> None:
        complaints = []
        for table, (build, mart) in shapes.items():
            assert build is not None
            if not build.key:
                raise PublishError(
                    f"{BUILD}.{table} has no primary key, so its rows cannot be compared. Nothing was "
                    f"published. Give model {table} an enforced contract with a primary_key constraint and "
                    "build it again."
                )
            if mart is None or self.replace:
                continue
            changes = _reshaping(build, mart)
            if changes:
                views = [view.name for view in self._dependent_views(table)]
                reads = (
                    f"; read by {', '.join(views)}" if views else "; nothing else in the database reads it"
                )
                complaints.append(f"{MARTS}.{table}: {', '.join(changes)}{reads}")
        if complaints:
            raise PublishError(
                "Readers of these tables would break: "
                + ". ".join(complaints)
                + f". Nothing was published, {MARTS} is as it was. To go on, run "
                "`ecommerce-dw publish --replace`."
            )

    # ---- one table ---------------------------------------------------------------------------------------

    def _publish(self, table: str, build: _Shape | None, mart: _Shape | None) -> TablePublication:
        assert build is not None
        notes: list[str] = []
        views: list[_View] = []
        if mart is None:
            self._execute("create table {mart} (like {build} including all)", table)
            notes.append("table made")
        else:
            notes, views = self._reshape(table, build, mart)
        mark, since = self._mark(table), self._mark(MARK_PREFIX + table)
        # A table that was just made or changed, or whose model keeps no mark, is compared row by row.
        is_full = True
        if not self.full and not notes and mark is not None and since is not None:
            is_full = self._is_everything(table, build, since)
            if not is_full:
                self._collect_touched(table, build, since)
        counts = self._change_rows(table, build, is_full)
        if mart is not None:
            self._require(table, build, mart)
        self._carry_comments(table, build)
        if self._carry_grants(table) or notes:
            self.cursor.execute("select ops.mask(to_regclass(%s))", (f'{MARTS}."{table}"',))
        self._remake_views(table, views)  # they may read the masked one
        self.cursor.execute(
            """
            insert into ops.publications (run_id, load_id_to, table_name, is_full,
                rows_inserted, rows_updated, rows_deleted)
            values (%s, %s, %s, %s, %s, %s, %s)
            """,
            (self.run_id, mark.load_id if mark else None, table, is_full, *counts),
        )
        if mark is not None:
            # Nobody builds meanwhile (the transform lock), so all there is has been seen.
            self.cursor.execute(
                """
                insert into ops.model_marks (model, load_id, touched_seq)
                select %s, %s, coalesce(max(touched_seq), 0) from ops.touched
                on conflict (model) do update set
                    load_id = excluded.load_id,
                    touched_seq = greatest(model_marks.touched_seq, excluded.touched_seq),
                    moved_at = clock_timestamp()
                """,
                (MARK_PREFIX + table, mark.load_id),
            )
        return TablePublication(table, is_full, *counts, notes=tuple(notes))

    def _is_everything(self, table: str, shape: _Shape, since: _Mark) -> bool:
        """Whether all rows are to be compared: so it says, or a key cannot be taken apart again."""
        separators = max(len(shape.joined_key) - 1, 0)
        self.cursor.execute(
            """
            select exists (
                select from ops.touched
                where model = %s and touched_seq > %s
                    and (key = '*' or %s > 0 and length(key) - length(replace(key, %s, '')) <> %s)
            )
            """,
            (table, since.touched_seq, separators, KEY_SEPARATOR, separators),
        )
        row = self.cursor.fetchone()
        return bool(row and row[0])

    def _collect_touched(self, table: str, shape: _Shape, since: _Mark) -> None:
        """The keys touched since the last publication, as temporary table `touched_keys`.

        It has the columns of the table's key and an index on them, so that few keys among many rows are found
        by the tables' own.
        """
        columns: list[sql.Composable] = [
            sql.SQL("{}::{} as {}").format(
                sql.SQL("split_part(key, {}, {})").format(sql.Literal(KEY_SEPARATOR), sql.Literal(position))
                if len(shape.joined_key) > 1
                else sql.SQL("key"),
                sql.SQL(shape.types[name]),
                sql.Identifier(name),
            )
            for position, name in enumerate(shape.joined_key, start=1)
        ]
        if "source_system" in shape.key:
            columns.append(sql.Identifier("source_system"))
        self.cursor.execute("drop table if exists pg_temp.touched_keys")
        self._execute(
            "create temporary table touched_keys on commit drop as "
            "select distinct {columns} from ops.touched where model = {model} and touched_seq > {since}",
            table,
            columns=sql.SQL(", ").join(columns),
            model=sql.Literal(table),
            since=sql.Literal(since.touched_seq),
        )
        self._execute(
            "alter table pg_temp.touched_keys add primary key ({key})", table, key=_list("{}", shape.key)
        )
        self.cursor.execute("analyze pg_temp.touched_keys")

    def _change_rows(self, table: str, shape: _Shape, is_full: bool) -> tuple[int, int, int]:
        names = [column.name for column in shape.columns]
        others = [name for name in names if name not in shape.key]
        same_key = sql.SQL(" and ").join(
            sql.SQL("m.{0} = b.{0}").format(sql.Identifier(name)) for name in shape.key
        )
        parts = {
            "columns": _list("{}", names),
            "b_columns": _list("b.{}", names),
            "same_key": same_key,
            "b_touched": sql.SQL("true") if is_full else _touched("b", shape.key),
            "m_touched": sql.SQL("true") if is_full else _touched("m", shape.key),
        }
        self._execute(
            "delete from {mart} as m "
            "where {m_touched} and not exists (select from {build} as b where {same_key})",
            table,
            **parts,
        )
        deleted = self.cursor.rowcount
        updated = 0
        if others:
            parts["changes"] = _list("{0} = b.{0}", others)
            parts["differs"] = sql.SQL("({}) is distinct from ({})").format(
                sql.SQL("row({})").format(_list("m.{}", others, shape)),
                sql.SQL("row({})").format(_list("b.{}", others, shape)),
            )
            self._execute(
                "update {mart} as m set {changes} from {build} as b "
                "where {same_key} and {b_touched} and {differs}",
                table,
                **parts,
            )
            updated = self.cursor.rowcount
        self._execute(
            "insert into {mart} ({columns}) select {b_columns} from {build} as b "
            "where {b_touched} and not exists (select from {mart} as m where {same_key})",
            table,
            **parts,
        )
        return self.cursor.rowcount, updated, deleted

    # ---- the table itself --------------------------------------------------------------------------------

    def _reshape(self, table: str, build: _Shape, mart: _Shape) -> tuple[list[str], list[_View]]:
        """Give the published table the columns of the built one; rows are filled afterwards.

        A column that changes its type is dropped and added again rather than rewritten in place, because a
        rewritten table looks empty to a transaction that began before.
        """
        notes: list[str] = []
        changes = _reshaping(build, mart)
        views = self._dependent_views(table) if changes else []
        for view in reversed(views):
            self._become(view.owner)
            self.cursor.execute(sql.SQL("drop {} {}").format(sql.SQL(view.kind), sql.SQL(view.name)))
        self._become(roles.PUBLISHER)
        if changes:
            self._execute("drop view if exists {masked}", table, masked=sql.Identifier(MASKED, table))
        if build.key != mart.key:
            # Without a common key no row can be matched: all of them are written anew.
            self._execute("delete from {mart}", table)
            self.cursor.execute(
                "select conname from pg_constraint where conrelid = to_regclass(%s) and contype = 'p'",
                (f'{MARTS}."{table}"',),
            )
            for (name,) in self.cursor.fetchall():
                self._execute("alter table {mart} drop constraint {name}", table, name=sql.Identifier(name))
        for column in mart.columns:
            if build.types.get(column.name) != column.type:
                self._execute(
                    "alter table {mart} drop column {name}", table, name=sql.Identifier(column.name)
                )
        notes.extend(changes)
        kept = {name for name, type_ in mart.types.items() if build.types.get(name) == type_}
        for column in build.columns:
            if column.name not in kept:
                self._execute(
                    f"alter table {{mart}} add column {{name}} {column.type}",
                    table,
                    name=sql.Identifier(column.name),
                )
                if column.name not in mart.types:
                    notes.append(f"column {column.name} added")
            elif column.is_required is False and {c.name: c.is_required for c in mart.columns}[column.name]:
                self._execute(
                    "alter table {mart} alter column {name} drop not null",
                    table,
                    name=sql.Identifier(column.name),
                )
        return notes, views

    def _require(self, table: str, build: _Shape, mart: _Shape) -> None:
        """Put back what could not hold before the rows were there: required columns and the key."""
        required = {c.name for c in mart.columns if c.is_required and build.types.get(c.name) == c.type}
        for column in build.columns:
            if column.is_required and column.name not in required:
                self._execute(
                    "alter table {mart} alter column {name} set not null",
                    table,
                    name=sql.Identifier(column.name),
                )
        current = self._shape(MARTS, table)
        assert current is not None
        if current.key != build.key:
            self._execute("alter table {mart} add primary key ({key})", table, key=_list("{}", build.key))

    def _dependent_views(self, table: str) -> list[_View]:
        """Views over the table, direct and indirect, each after those it reads; not the masked one."""
        self.cursor.execute(
            """
            with recursive dependents (oid, depth) as (
                select r.ev_class, 1
                from pg_depend as d
                join pg_rewrite as r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
                where d.refclassid = 'pg_class'::regclass and d.refobjid = to_regclass(%s)
                  and r.ev_class <> d.refobjid
                union
                select r.ev_class, p.depth + 1
                from dependents as p
                join pg_depend as d on d.refclassid = 'pg_class'::regclass and d.refobjid = p.oid
                join pg_rewrite as r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
                where r.ev_class <> p.oid
            )
            select c.oid, format('%%I.%%I', n.nspname, c.relname),
                case c.relkind when 'm' then 'materialized view' else 'view' end,
                pg_get_viewdef(c.oid), obj_description(c.oid, 'pg_class'), pg_get_userbyid(c.relowner)
            from (select oid, max(depth) as depth from dependents group by oid) as p
            join pg_class as c using (oid)
            join pg_namespace as n on n.oid = c.relnamespace
            where n.nspname <> %s
            order by p.depth, 2
            """,
            (f'{MARTS}."{table}"', MASKED),
        )
        return [
            _View(name, kind, definition, comment, owner, tuple(self._grants(oid)))
            for oid, name, kind, definition, comment, owner in self.cursor.fetchall()
        ]

    def _remake_views(self, table: str, views: Sequence[_View]) -> None:
        for view in views:
            parts = {"kind": sql.SQL(view.kind), "name": sql.SQL(view.name)}
            self._become(view.owner)
            try:
                self.cursor.execute(
                    sql.SQL("create {kind} {name} as {definition}").format(
                        definition=sql.SQL(view.definition), **parts
                    )
                )
            except psycopg2.Error as error:
                raise PublishError(
                    f"{view.name} reads {MARTS}.{table} and cannot be made again over its new columns: "
                    f"{str(error).splitlines()[0]}. Nothing was published. Drop or change that view, then "
                    "run `ecommerce-dw publish --replace` again."
                ) from error
            if view.comment is not None:
                self.cursor.execute(
                    sql.SQL("comment on {kind} {name} is {text}").format(
                        text=sql.Literal(view.comment), **parts
                    )
                )
            for grant in view.grants:
                self._grant(parts["name"], grant)
            self.warnings.append(f"{view.name} was made again over the new columns of {MARTS}.{table}.")
        self._become(roles.PUBLISHER)

    def _carry_comments(self, table: str, shape: _Shape) -> None:
        self.cursor.execute(
            """
            select b.position, b.text
            from (
                select coalesce(a.attnum, 0), a.attname, d.description
                from (select to_regclass(%(build)s) as oid) as t
                left join lateral (
                    select 0 as attnum, null::name as attname
                    union all
                    select attnum, attname from pg_attribute
                    where attrelid = t.oid and attnum > 0 and not attisdropped
                ) as a on true
                left join pg_description as d
                    on d.objoid = t.oid and d.classoid = 'pg_class'::regclass and d.objsubid = a.attnum
            ) as b (attnum, position, text)
            left join pg_attribute as a
                on a.attrelid = to_regclass(%(mart)s) and a.attname = b.position and not a.attisdropped
            left join pg_description as d
                on d.objoid = to_regclass(%(mart)s) and d.classoid = 'pg_class'::regclass
                and d.objsubid = coalesce(a.attnum, 0)
            where d.description is distinct from b.text
            """,
            {"build": f'{BUILD}."{table}"', "mart": f'{MARTS}."{table}"'},
        )
        for column, text in self.cursor.fetchall():
            if column is None:
                self._execute("comment on table {mart} is {text}", table, text=sql.Literal(text))
            else:
                self._execute(
                    "comment on column {mart}.{column} is {text}",
                    table,
                    column=sql.Identifier(column),
                    text=sql.Literal(text),
                )

    def _carry_grants(self, table: str) -> bool:
        """Readers of the built table, or of some of its columns, become readers of the published one.

        Where the model names no grants, those of the published table are left alone, as dbt does.

        Returns:
            Whether a right has changed.
        """
        self.cursor.execute(
            "select to_regclass(%s)::oid, to_regclass(%s)::oid", (f'{BUILD}."{table}"', f'{MARTS}."{table}"')
        )
        row = self.cursor.fetchone()
        assert row is not None
        build, mart = (set(self._grants(oid)) for oid in row)
        if not build or build == mart:
            return False
        name = sql.Identifier(MARTS, table)
        # First what goes: with a right on the table goes the one on each column.
        for grant in sorted(mart - build, key=str):
            self._revoke(name, grant)
        for grant in sorted(build - set(self._grants(row[1])), key=str):
            self._grant(name, grant)
        return True

    def _grants(self, oid: int) -> list[_Grant]:
        """Who may do what with a relation, but for who builds and who publishes."""
        self.cursor.execute(
            """
            select case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
                a.privilege_type, quote_ident(held.attname)
            from (
                select relacl as rights, null::name as attname from pg_class where oid = %(oid)s
                union all
                select attacl, attname from pg_attribute where attrelid = %(oid)s and not attisdropped
            ) as held
            cross join aclexplode(held.rights) as a
            where a.grantee not in ('transformer'::regrole, %(publisher)s::regrole)
            order by 1, 2, 3
            """,
            {"oid": oid, "publisher": roles.PUBLISHER},
        )
        return self.cursor.fetchall()

    def _grant(self, name: sql.Composable, grant: _Grant) -> None:
        self._change_right("grant {privilege} on {name} to {grantee}", name, grant)

    def _revoke(self, name: sql.Composable, grant: _Grant) -> None:
        self._change_right("revoke {privilege} on {name} from {grantee}", name, grant)

    def _change_right(self, template: str, name: sql.Composable, grant: _Grant) -> None:
        grantee, privilege, column = grant
        self.cursor.execute(
            sql.SQL(template).format(
                privilege=sql.SQL(privilege if column is None else f"{privilege} ({column})"),
                name=name,
                grantee=sql.SQL(grantee),
            )
        )

    # ---- the end -----------------------------------------------------------------------------------------

    def _drop_gone(self, gone: Sequence[str]) -> Iterator[str]:
        for table in gone:
            if not self.prune:
                warning = (
                    f"{MARTS}.{table} has no model any more and stays as it is; "
                    "`ecommerce-dw publish --prune` drops it."
                )
                log.warning(warning)
                self.warnings.append(warning)
                continue
            readers = [view.name for view in self._dependent_views(table)]
            if readers:
                raise PublishError(
                    f"{MARTS}.{table} has no model any more but is read by {', '.join(readers)}. Nothing was "
                    "published. Drop those views, then run `ecommerce-dw publish --prune` again."
                )
            self._execute("drop view if exists {masked}", table, masked=sql.Identifier(MASKED, table))
            self._execute("drop table {mart}", table)
            self._become("transformer")
            self._execute("drop table if exists {build}", table)
            self._become(roles.PUBLISHER)
            self.cursor.execute(
                "delete from ops.model_marks where model in (%s, %s)", (table, MARK_PREFIX + table)
            )
            self.cursor.execute("delete from ops.touched where model = %s", (table,))
            yield table

    def _forget_read_touches(self) -> None:
        """Delete what every reader has passed.

        A mark without its table holds nothing back: dbt builds a missing table in full, whatever its mark.
        """
        self.cursor.execute(
            """
            delete from ops.touched
            where touched_seq <= (
                select min(m.touched_seq)
                from ops.model_marks as m
                where exists (
                    select
                    from pg_class as c
                    join pg_namespace as n on n.oid = c.relnamespace
                    where c.relname = replace(m.model, %s, '')
                      and n.nspname in ('staging', 'intermediate', 'warehouse', %s)
                )
            )
            """,
            (MARK_PREFIX, BUILD),
        )

    def _execute(self, statement: str, table: str, **parts: sql.Composable) -> None:
        self.cursor.execute(
            sql.SQL(statement).format(
                mart=sql.Identifier(MARTS, table), build=sql.Identifier(BUILD, table), **parts
            )
        )


def _reshaping(build: _Shape, mart: _Shape) -> list[str]:
    """Changes of a published table that may break those who read it."""
    changes = []
    for column in mart.columns:
        type_ = build.types.get(column.name)
        if type_ is None:
            changes.append(f"column {column.name} goes")
        elif type_ != column.type:
            changes.append(f"column {column.name} changes from {column.type} to {type_}")
    if build.key != mart.key:
        changes.append(f"primary key changes from ({', '.join(mart.key)}) to ({', '.join(build.key)})")
    return changes


def _list(template: str, names: Sequence[str], shape: _Shape | None = None) -> sql.Composed:
    """The columns by a template; with a shape, those without an equality of their own as text."""
    types = shape.types if shape else {}
    return sql.SQL(", ").join(
        sql.SQL(template + "::text" if types.get(name) in ("json", "xml", "point") else template).format(
            sql.Identifier(name)
        )
        for name in names
    )


def _touched(alias: str, key: Sequence[str]) -> sql.Composed:
    """Whether a row's key is among the touched ones."""
    same = sql.SQL(" and ").join(
        sql.SQL("t.{0} = {1}.{0}").format(sql.Identifier(name), sql.Identifier(alias)) for name in key
    )
    return sql.SQL("exists (select from pg_temp.touched_keys as t where {})").format(same)
