"""Views over a raw table, taken down and put up again around a change that is not possible under a view."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

_DEPENDENTS = """
    with recursive reading as (
        select rule.ev_class as oid, 1 as depth
        from pg_depend as d
        join pg_rewrite as rule on rule.oid = d.objid
        where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
            and d.refobjid = %(table)s::regclass and rule.ev_class <> d.refobjid
        union
        select rule.ev_class, reading.depth + 1
        from reading
        join pg_depend as d on d.refclassid = 'pg_class'::regclass and d.refobjid = reading.oid
        join pg_rewrite as rule on d.classid = 'pg_rewrite'::regclass and rule.oid = d.objid
        where rule.ev_class <> d.refobjid
    )
    select
        n.nspname, c.relname, pg_get_userbyid(c.relowner), pg_get_viewdef(c.oid),
        obj_description(c.oid, 'pg_class'),
        (
            select jsonb_object_agg(a.attname, col_description(c.oid, a.attnum))
            from pg_attribute as a
            where a.attrelid = c.oid and col_description(c.oid, a.attnum) is not null
        ),
        (
            select jsonb_agg(jsonb_build_array(pg_get_userbyid(acl.grantee), acl.privilege_type))
            from aclexplode(c.relacl) as acl
            where acl.grantee <> c.relowner and acl.grantee <> 0
        )
    from (select oid, max(depth) as depth from reading group by oid) as r
    join pg_class as c on c.oid = r.oid
    join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind = 'v'
    order by r.depth, n.nspname, c.relname
"""


class UnfitViewError(RuntimeError):
    """A view cannot read the changed table; the message names it."""


@dataclass(frozen=True)
class _View:
    """A view as it can be made again.

    Attributes:
        schema, name, owner, definition: Its parts; the definition is the select.
        comment: Of the view, or None.
        column_comments: Column → comment.
        grants: Who may do what, beside its owner.
    """

    schema: str
    name: str
    owner: str
    definition: str
    comment: str | None
    column_comments: dict[str, str]
    grants: tuple[tuple[str, str], ...]


@contextlib.contextmanager
def taken_down(cursor: psycopg2.extensions.cursor, table: str) -> Iterator[None]:
    """Take the views over a table down for the block, and put them up again with owner, comments and grants.

    They show the columns that they had; dbt's next build adds new ones. Runs in the caller's transaction.
    Where there are views, the session must be one of the warehouse's owner; the role it has set stays set.

    Raises:
        UnfitViewError: A view's select no longer fits the table.
    """
    cursor.execute("select current_user")
    (role,) = cursor.fetchone() or ("",)
    views = _views_over(cursor, table)
    for view in reversed(views):
        _become(cursor, view.owner)
        cursor.execute(sql.SQL("drop view {}").format(sql.Identifier(view.schema, view.name)))
    _become(cursor, role)
    yield
    for view in views:
        _become(cursor, view.owner)
        _create(cursor, view)
    _become(cursor, role)


def _become(cursor: psycopg2.extensions.cursor, role: str) -> None:
    cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))


def _views_over(cursor: psycopg2.extensions.cursor, table: str) -> list[_View]:
    """The views that read a table, directly or through others, each after the ones it reads."""
    cursor.execute(_DEPENDENTS, {"table": table})
    return [
        _View(schema, name, owner, definition, comment, columns or {}, tuple(map(tuple, grants or ())))
        for schema, name, owner, definition, comment, columns, grants in cursor
    ]


def _create(cursor: psycopg2.extensions.cursor, view: _View) -> None:
    name = sql.Identifier(view.schema, view.name)
    try:
        cursor.execute(sql.SQL("create view {} as ").format(name) + sql.SQL(view.definition))
    except psycopg2.ProgrammingError as error:
        reason = error.diag.message_primary
        raise UnfitViewError(f"View {view.schema}.{view.name} no longer fits: {reason}.") from error
    if view.comment:
        cursor.execute(sql.SQL("comment on view {} is %s").format(name), (view.comment,))
    for column, comment in view.column_comments.items():
        column_name = sql.Identifier(view.schema, view.name, column)
        cursor.execute(sql.SQL("comment on column {} is %s").format(column_name), (comment,))
    for grantee, privilege in view.grants:
        cursor.execute(
            sql.SQL("grant {} on {} to {}").format(sql.SQL(privilege), name, sql.Identifier(grantee))
        )
