"""Who may do what in the warehouse.

Roles belong to the server and are made here, whoever needs them first: a migration, a deployment or a
restore. Rights belong to a database and stand in its migrations; those on the schemas that can be built again
stand here, so that a lost schema can be made again with them. `tests/integration/security` tries every right.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg2.extensions
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from ecommerce_dw.settings import ROLES, Role, Settings

#: Owns the tables of schema `marts`. Nobody logs in as it: a publication, of role transformer, puts it on.
PUBLISHER = "publisher"
#: Whose every statement is in the server's log.
LOGGED = "pii_reader"
#: Those who read warehouse and marts and must not see personal data.
SHIELDED = ("analyst", "api")

#: Roles that hold rights in the database.
ALL = (*ROLES, PUBLISHER)

#: Schemas whose tables are built from raw, with the rights on them. May be run at any time.
_SCHEMAS = """
create schema if not exists staging authorization transformer;
create schema if not exists intermediate authorization transformer;
create schema if not exists warehouse authorization transformer;
create schema if not exists warehouse_parts authorization transformer;
create schema if not exists marts_build authorization transformer;
create schema if not exists marts;
create schema if not exists masked;
comment on schema masked is
    'The tables with personal data as analysts may see them: *** stands for a text, null for all else.';

-- What people see is changed by a publication alone.
do $$ begin execute format('alter schema marts owner to %I', current_user); end $$;
grant usage, create on schema marts to publisher;
grant usage on schema marts to transformer, analyst, api, pii_reader;
alter default privileges for role publisher in schema marts
    grant select on tables to transformer, pii_reader;
grant usage on schema marts_build to publisher;
alter default privileges for role transformer in schema marts_build grant select on tables to publisher;

grant usage, create on schema masked to transformer, publisher;
grant usage on schema masked to analyst, api, pii_reader;

-- Analysts read by dbt's grants, which know the columns with personal data, and not by default.
alter default privileges for role transformer
    in schema staging, intermediate, warehouse, warehouse_parts, marts
    revoke select on tables from analyst;
revoke usage on schema staging, intermediate, warehouse_parts from analyst;
grant usage on schema warehouse to analyst;

grant usage on schema staging, intermediate, warehouse, warehouse_parts, marts_build to pii_reader;
alter default privileges for role transformer
    in schema staging, intermediate, warehouse, warehouse_parts, marts_build
    grant select on tables to pii_reader;
"""
#: Called by who makes or changes a table: dbt for schema warehouse, the publication for schema marts.
_MASK = """
create or replace function ops.mask(relation regclass) returns void
language plpgsql as $$
declare
    name name;
    parent name;
    columns text;
    is_masked boolean;
    reader name;
begin
    select c.relname, n.nspname,
        string_agg(
            case
                when has_column_privilege('analyst', c.oid, a.attnum, 'select') then quote_ident(a.attname)
                when a.atttypid = 'text'::regtype
                    then format('case when %1$I is not null then ''***'' end as %1$I', a.attname)
                else format('null::%s as %I', format_type(a.atttypid, a.atttypmod), a.attname)
            end, ', ' order by a.attnum
        ),
        has_any_column_privilege('analyst', c.oid, 'select')
            and not bool_and(has_column_privilege('analyst', c.oid, a.attnum, 'select'))
    into strict name, parent, columns, is_masked
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.oid = relation
    group by c.oid, c.relname, n.nspname;
    if not is_masked then
        execute format('drop view if exists masked.%I', name);
        return;
    end if;
    columns := format('view masked.%I as select %s from %s', name, columns, relation);
    begin  -- others may read it
        execute 'create or replace ' || columns;
    exception when invalid_table_definition then  -- a column is gone, or another type
        execute format('drop view masked.%I', name);
        execute 'create ' || columns;
    end;
    execute format('revoke all on masked.%I from analyst, api, pii_reader', name);
    execute format(
        'comment on view masked.%I is %L', name, format('%s.%s without personal data.', parent, name)
    );
    foreach reader in array array['analyst', 'api', 'pii_reader'] loop
        if has_any_column_privilege(reader, relation, 'select') then
            execute format('grant select on masked.%I to %I', name, reader);
        end if;
    end loop;
end
$$;
comment on function ops.mask is
    'Makes the view in schema masked of a table of which analysts may not read every column, anew.';
revoke execute on function ops.mask from public;
grant execute on function ops.mask to transformer, publisher;
"""
_NAMES = ("staging", "intermediate", "warehouse", "warehouse_parts", "marts_build", "marts", "masked")


def make_roles(cursor: psycopg2.extensions.cursor, settings: Settings) -> None:
    """Make the roles that are missing, and let those log in that may; the others stay as they are.

    Args:
        cursor: Of the owner.
        settings: The passwords.
    """
    cursor.execute(
        "select name from unnest(%s) as name where name not in (select rolname from pg_roles)", (list(ALL),)
    )
    missing = [name for (name,) in cursor.fetchall()]
    for name in missing:
        role = sql.Identifier(name)
        cursor.execute(sql.SQL("create role {} nologin").format(role))
        # The owner may do everything the roles may.
        cursor.execute(sql.SQL("grant {} to {}").format(role, sql.Identifier(settings.warehouse_user)))
    # Put on by `set role` alone, so that what dbt builds never gets into schema marts by a slip.
    cursor.execute("grant publisher to transformer with inherit false, set true")
    set_passwords(cursor, settings, [role for role in ROLES if role in missing])


def set_passwords(
    cursor: psycopg2.extensions.cursor, settings: Settings, chosen: Sequence[Role] = ROLES
) -> bool:
    """Give roles the passwords that are set now.

    A role without a password can't log in; nor can pii_reader where its statements are not logged.

    Args:
        cursor: Of the owner.
        settings: The passwords.
        chosen: The roles.

    Returns:
        Whether what pii_reader does is logged: a superuser sees to it, or an administrator has.
    """
    is_logged = _log_everything(cursor)
    for role in chosen:
        login, password = settings.role_login(role)
        may_log_in = role in settings.login_roles and (role != LOGGED or is_logged)
        cursor.execute(
            sql.SQL("alter role {} {} password %s").format(
                sql.Identifier(login), sql.SQL("login" if may_log_in else "nologin")
            ),
            # The server gets the verifier alone, so that no log of statements has a password.
            (encrypt_password(password, login, cursor.connection, "scram-sha-256") if password else None,),
        )
    return is_logged


def _log_everything(cursor: psycopg2.extensions.cursor) -> bool:
    cursor.execute(
        "select exists (select from pg_db_role_setting where setrole = %s::regrole and setdatabase = 0 "
        "and 'log_statement=all' = any(setconfig)), has_parameter_privilege('log_statement', 'set')",
        (LOGGED,),
    )
    is_logged, may_set = cursor.fetchone() or (False, False)
    if not is_logged and may_set:
        cursor.execute(sql.SQL("alter role {} set log_statement to 'all'").format(sql.Identifier(LOGGED)))
    return bool(is_logged or may_set)


def make_schemas(cursor: psycopg2.extensions.cursor) -> None:
    """Make the schemas that can be built again where they are missing, with the rights on them."""
    cursor.execute(_SCHEMAS)
    cursor.execute(_MASK)


def lost_schemas(cursor: psycopg2.extensions.cursor) -> list[str]:
    """The schemas that can be built again and are not there."""
    cursor.execute("select name from unnest(%s) as name where to_regnamespace(name) is null", (list(_NAMES),))
    return [name for (name,) in cursor.fetchall()]
