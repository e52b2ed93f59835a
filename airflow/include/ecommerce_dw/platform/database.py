"""The PostgreSQL under the platform: the embedded server, or one that was given."""

from __future__ import annotations

import contextlib

import psycopg2
import psycopg2.extensions
from psycopg2 import errors, sql

from ecommerce_dw import db, roles
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.postgres import EmbeddedPostgres, reachable_folder
from ecommerce_dw.settings import Settings

#: Oldest PostgreSQL that works: the loader needs virtual generated columns and COPY's reject limit.
MINIMUM_VERSION = 18


def embedded(settings: Settings) -> EmbeddedPostgres:
    """This installation's embedded server, running or not."""
    return EmbeddedPostgres(
        reachable_folder(settings.home / "postgres"),
        settings.warehouse_port,
        superuser=settings.warehouse_user,
        password=settings.warehouse_password.get_secret_value(),
    )


def at_running_port(settings: Settings) -> Settings:
    """The settings with the port the embedded server listens on now, whatever was set since its start."""
    if settings.is_embedded and (port := embedded(settings).running_port()):
        return settings.model_copy(update={"warehouse_port": port})
    return settings


def connect(settings: Settings, database: str | None = None) -> psycopg2.extensions.connection:
    """Open a connection as the owner, in autocommit.

    Args:
        settings: Of this installation; `settings.metadata` reaches Airflow's metadata.
        database: Another one on that server.

    Raises:
        psycopg2.OperationalError: The server does not answer, refuses the login or has no such database.
    """
    if database is not None:
        settings = settings.model_copy(update={"warehouse_db": database})
    connection = db.connect(settings=settings, application_name="ecommerce-dw platform")
    connection.autocommit = True
    return connection


def prepare(settings: Settings) -> str:
    """Check the server's version and the owner's privileges, and make the databases where missing: the
    warehouse's, and that of Airflow's metadata unless it has a server of its own.

    Returns:
        The server's version, e.g. `18.4`.

    Raises:
        PlatformError: Something is missing; the message says what, and the statement that mends it.
    """
    owner = settings.warehouse_user
    where = f"{settings.host}:{settings.warehouse_port}"
    databases = [settings.warehouse_db, *([] if settings.airflow_db_host else [settings.airflow_db])]
    connection = first_connection(settings)
    try:
        with connection.cursor() as cursor:
            number = connection.server_version
            if number // 10_000 < MINIMUM_VERSION:
                raise PlatformError(
                    f"The PostgreSQL at {where} is version {number // 10_000}; {MINIMUM_VERSION} or newer "
                    "is needed. Set WAREHOUSE_HOST and WAREHOUSE_PORT to such a server, or leave "
                    "WAREHOUSE_HOST empty to use the embedded one. Nothing was changed there."
                )
            cursor.execute(
                "select rolsuper, rolcreaterole, rolcreatedb from pg_roles where rolname = current_user"
            )
            is_super, may_make_roles, may_make_databases = cursor.fetchone() or (False, False, False)
            if not (is_super or may_make_roles):
                raise PlatformError(
                    f"The user {owner} at {where} may not make roles, and the warehouse needs loader, "
                    f"transformer and analyst. As an administrator run: alter role {owner} createrole;"
                )
            for database in databases:
                cursor.execute("select 1 from pg_database where datname = %s", (database,))
                if cursor.fetchone():
                    continue
                if not (is_super or may_make_databases):
                    raise PlatformError(
                        f"There is no database {database} at {where}, and the user {owner} may not make "
                        f"one. As an administrator run: create database {database} owner {owner};"
                    )
                cursor.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
            for database in databases:
                cursor.execute("select has_database_privilege(%s, 'create')", (database,))
                if not (cursor.fetchone() or (False,))[0]:
                    raise PlatformError(
                        f"The user {owner} may not make schemas in database {database} at {where}. As an "
                        f"administrator run: alter database {database} owner to {owner};"
                    )
            cursor.execute("show server_version")
            return str((cursor.fetchone() or ("",))[0]).split()[0]
    finally:
        connection.close()


def set_role_passwords(settings: Settings) -> None:
    """Make the warehouse's roles where missing, and give them the passwords that are set now.

    Raises:
        PlatformError: pii_reader has a password, and what it does would not be logged. It can't log in; the
            others can.
    """
    with contextlib.closing(connect(settings)) as connection, connection.cursor() as cursor:
        roles.make_roles(cursor, settings)
        is_logged = roles.set_passwords(cursor, settings)
    if roles.LOGGED in settings.login_roles and not is_logged:
        raise PlatformError(
            f"PII_READER_PASSWORD is set, and {settings.warehouse_user} may not have the server log what "
            f"{roles.LOGGED} does, so that it can't log in. As an administrator run: alter role "
            f"{roles.LOGGED} set log_statement to 'all'; Then run again. All else was done."
        )


def database_sizes(settings: Settings) -> dict[str, int]:
    """Size of the warehouse's and of Airflow's database (bytes)."""
    sizes: dict[str, int] = {}
    for server in (settings, settings.metadata) if settings.airflow_db_host else (settings,):
        connection = connect(server)
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "select datname, pg_database_size(oid) from pg_database where datname in (%s, %s)",
                    (settings.warehouse_db, settings.airflow_db),
                )
                sizes |= dict(cursor.fetchall())
        finally:
            connection.close()
    return sizes


def exists(settings: Settings) -> bool:
    """Whether the settings' database is there.

    Raises:
        PlatformError: The server does not answer or refuses the login.
    """
    with contextlib.closing(first_connection(settings)) as connection, connection.cursor() as cursor:
        cursor.execute("select 1 from pg_database where datname = %s", (settings.warehouse_db,))
        return cursor.fetchone() is not None


def first_connection(settings: Settings) -> psycopg2.extensions.connection:
    """A connection as the owner to the server, whose warehouse database may not be there yet.

    Raises:
        PlatformError: It does not answer or refuses the login; the message says what to check.
    """
    where = f"{settings.host}:{settings.warehouse_port}"
    failures: list[str] = []
    # `postgres` is on nearly every server.
    for database in (settings.warehouse_db, "postgres", "template1"):
        try:
            return connect(settings, database)
        except psycopg2.OperationalError as error:
            text = str(error).strip()
            failures.append(text)
            if f'database "{database}" does not exist' not in text and not isinstance(
                error, errors.InsufficientPrivilege
            ):
                break
    if settings.is_embedded:
        advice = (
            "The embedded server keeps the password it was made with: set WAREHOUSE_USER and "
            "WAREHOUSE_PASSWORD to those, or start over with ./deploy.sh reset --yes."
        )
    else:
        advice = (
            "Check WAREHOUSE_HOST, WAREHOUSE_PORT, WAREHOUSE_USER and WAREHOUSE_PASSWORD in .env or the "
            "environment, and that the server lets this machine in."
        )
    raise PlatformError(f"No connection to PostgreSQL at {where}: {failures[-1]}\n{advice}")
