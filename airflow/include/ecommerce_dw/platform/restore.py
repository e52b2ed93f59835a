"""`./deploy.sh restore`: a backup into a database beside, proved there, and then put in place by renaming.

Until the renaming, which is one transaction, nothing that is in use is touched: a restore that is refused,
fails or is killed leaves the warehouse as it was. What was replaced is kept under another name.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psycopg2
import psycopg2.extensions
from packaging.version import Version
from psycopg2 import errors, sql
from rich.console import Console

from ecommerce_dw import db, migrations, roles
from ecommerce_dw.fingerprint import TableFingerprint, fingerprints_in
from ecommerce_dw.forgetting import rebuild
from ecommerce_dw.loading import journal
from ecommerce_dw.loading.erasure import apply_tombstones
from ecommerce_dw.loading.tombstones import TombstoneError, merge_tombstones
from ecommerce_dw.platform import database, orchestrator
from ecommerce_dw.platform.backup import (
    JOBS,
    JOURNAL,
    METADATA,
    TOMBSTONES,
    WAREHOUSE,
    Backup,
    DatabasePart,
    check_files,
    client_environment,
    client_program,
    read_backup,
    running_server,
)
from ecommerce_dw.platform.dev import only_one
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.screen import Screen
from ecommerce_dw.settings import Settings

#: Says of a database that a restore made it; what a killed one left is known by it.
_OURS = "Made by ecommerce-dw restore; not in use."
#: Longest name of a database (bytes).
_NAME_LIMIT = 63
#: Longest wait for others to leave a database that is renamed (s).
_PATIENCE = 30.0
#: Settings whose value is a list of names.
_LISTS = {"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"}


class NotAgreedError(PlatformError):
    """Something would be replaced, and nobody has said that it may be."""


@dataclass(frozen=True)
class Restoration:
    """What a restore did.

    Attributes:
        backup: Which was restored.
        tables, rows: Whose fingerprints were proved, Airflow's metadata among them.
        migrated_from, migrated_to: Revision of the warehouse in the backup, and now.
        kept: Database → the name under which its former state is kept.
        dropped: Databases whose former state was dropped.
        has_metadata: Whether the backup had Airflow's metadata.
        decisions_added: Lines that this home's journal did not have.
        later_decisions: Decisions in the journal that were made after the backup.
    """

    backup: Backup
    tables: int
    rows: int
    migrated_from: str
    migrated_to: str
    kept: Mapping[str, str]
    dropped: tuple[str, ...]
    has_metadata: bool
    decisions_added: int
    later_decisions: int


@dataclass(frozen=True)
class _Task:
    """A database that is restored: from which part, to which server and name, and by way of which name."""

    key: str
    part: DatabasePart
    server: Settings
    beside: str

    @property
    def restored(self) -> Settings:
        """Settings that reach the database beside."""
        return self.server.model_copy(update={"warehouse_db": self.beside})


def restore(
    settings: Settings,
    folder: Path,
    console: Console,
    *,
    is_agreed: bool = False,
    drop_old: bool = False,
    before_swap: Callable[[], None] = lambda: None,
) -> Restoration:
    """Restore a backup.

    Args:
        settings: Of this installation; its databases' names, whatever they were called in the backup.
        folder: The backup.
        console: Shows the steps.
        is_agreed: Whether databases that are there may be replaced.
        drop_old: Drop what was replaced, in place of keeping it under another name.
        before_swap: Called when everything is proved and nothing is replaced yet.

    Raises:
        NotAgreedError: A database is there, and nobody agreed.
        PlatformError: The backup is damaged or of a later version, the platform runs, or a step failed. What
            was in use is as it was.
    """
    screen = Screen(console)
    with screen.step("Checking the backup") as result:
        backup = read_backup(folder)
        _refuse_later_project(backup)
        check_files(backup)
        result.append(
            f"The backup of {backup.manifest.taken_at} is whole: {len(backup.manifest.files)} files"
        )
    with only_one(settings), running_server(settings), _alone_on(settings) as maintenance:
        _refuse_later_server(backup, maintenance)
        _refuse_while_running(settings)
        tasks = _plan(settings, backup)
        replaced = [task for task in tasks if database.exists(task.server)]
        if replaced and not is_agreed:
            raise NotAgreedError(_question(settings, replaced, drop_old=drop_old))
        _bring_roles(tasks)
        made: list[_Task] = []
        try:
            for task in tasks:
                with screen.step(f"Restoring {task.server.warehouse_db} beside") as result:
                    _create(task)
                    made.append(task)
                    _fill(task, backup)
                    result.append(f"Restored beside, as {task.beside}: {len(task.part.tables)} tables")
                with screen.step(f"Proving {task.beside}") as result:
                    _prove(task)
                    rows = sum(table.rows for table in task.part.tables)
                    result.append(f"Every fingerprint of {task.beside} is the backup's: {rows:,} rows")
            with screen.step("Bringing the schemas to this version") as result:
                revision = migrations.migrate(tasks[0].restored)
                database.set_role_passwords(tasks[0].restored)
                result.append(
                    f"The schemas are at migration {revision} (the backup: {tasks[0].part.revision})"
                )
            with screen.step("Forgetting who was forgotten") as result:
                saved = folder / TOMBSTONES
                try:
                    if saved.exists():
                        merge_tombstones(settings, saved.read_text(encoding="utf-8"))
                    blanked = apply_tombstones(tasks[0].restored)
                except TombstoneError as error:
                    raise PlatformError(str(error)) from error
                if blanked:
                    rebuild(tasks[0].restored, f"restore__{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S}")
                result.append(f"Personal data of who was forgotten: blanked again in {blanked:,} rows")
            before_swap()
            with screen.step("Putting it in place") as result:
                saved = folder / JOURNAL
                added = journal.merge(settings, saved.read_text(encoding="utf-8")) if saved.exists() else 0
                kept = _swap(tasks)
                made.clear()
                result.append(f"In place: {', '.join(task.server.warehouse_db for task in tasks)}")
        finally:
            for task in made:
                _drop(task.server, task.beside)
        metadata = backup.manifest.databases.get(METADATA)
        if metadata is not None:
            orchestrator.remember_migrated(settings, backup.manifest.airflow, metadata.revision)
        dropped: list[str] = []
        if drop_old:
            for task in tasks:
                if name := kept.pop(task.server.warehouse_db, None):
                    _drop(task.server, name)
                    dropped.append(task.server.warehouse_db)
    return Restoration(
        backup=backup,
        tables=sum(len(task.part.tables) for task in tasks),
        rows=sum(table.rows for task in tasks for table in task.part.tables),
        migrated_from=tasks[0].part.revision,
        migrated_to=revision,
        kept=kept,
        dropped=tuple(dropped),
        has_metadata=metadata is not None,
        decisions_added=added,
        later_decisions=journal.count_since(settings, backup.manifest.taken_at),
    )


# --- refusals ----------------------------------------------------------------------------------------------


def _refuse_later_project(backup: Backup) -> None:
    manifest = backup.manifest
    revision = manifest.databases[WAREHOUSE].revision
    if not migrations.is_known(revision):
        raise PlatformError(
            f"{backup.folder} is at migration {revision}, which this version of the project does not know "
            f"(it knows up to {migrations.head()}). Nothing was changed. Restore it with version "
            f"{manifest.project} or a later one."
        )
    installed = version("apache-airflow")
    if METADATA in manifest.databases and Version(manifest.airflow) > Version(installed):
        raise PlatformError(
            f"{backup.folder} holds the metadata of Airflow {manifest.airflow}, and Airflow {installed} "
            "is installed. Nothing was changed. Restore it with the version of the project that has it."
        )


def _refuse_later_server(backup: Backup, connection: psycopg2.extensions.connection) -> None:
    taken, here = backup.manifest.postgresql // 10_000, connection.server_version // 10_000
    if taken > here:
        raise PlatformError(
            f"{backup.folder} is of PostgreSQL {taken}, and this server is version {here}. Nothing was "
            f"changed. Restore it into a server of version {taken} or newer."
        )


def _refuse_while_running(settings: Settings) -> None:
    if settings.has_own_airflow:
        names = sorted(orchestrator.running(settings))
    else:
        names = _sessions(settings.metadata)
    if names:
        raise PlatformError(
            f"The platform runs ({', '.join(names)}). Nothing was changed. Stop it first: ./deploy.sh stop."
        )


def _sessions(server: Settings) -> list[str]:
    """What is connected to a database, by the names that programs give themselves."""
    with contextlib.closing(database.first_connection(server)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select distinct coalesce(nullif(application_name, ''), 'a session') from pg_stat_activity "
            "where datname = %s and pid <> pg_backend_pid() and backend_type = 'client backend' order by 1",
            (server.warehouse_db,),
        )
        return [name for (name,) in cursor.fetchall()]


def _question(settings: Settings, replaced: Sequence[_Task], *, drop_old: bool) -> str:
    sizes = database.database_sizes(settings)
    lines = []
    for task in replaced:
        name = task.server.warehouse_db
        lines.append(
            f"  {name} on {task.server.host}:{task.server.warehouse_port} ({sizes.get(name, 0) / 1e6:.0f} MB)"
        )
    fate = "They are dropped then." if drop_old else "They are kept under other names."
    return "\n".join(
        ["This replaces:", *lines, f"{fate} Nothing was changed. Say so with ./deploy.sh restore … --yes."]
    )


# --- steps -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone_on(settings: Settings) -> Iterator[psycopg2.extensions.connection]:
    """A connection beside the databases in question, with the lock that keeps two restores apart."""
    with contextlib.closing(_maintenance(settings)) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_try_advisory_lock(%s)", (db.RESTORE_LOCK,))
        (is_free,) = cursor.fetchone() or (False,)
        if not is_free:
            raise PlatformError(
                f"Another restore is at work on {settings.host}:{settings.warehouse_port}. Nothing was "
                "changed."
            )
        yield connection


def _maintenance(server: Settings) -> psycopg2.extensions.connection:
    """A connection to a database that is none of ours: those are renamed."""
    failures = []
    for name in ("postgres", "template1"):
        try:
            return database.connect(server, name)
        except psycopg2.OperationalError as error:
            failures.append(str(error).strip())
    raise PlatformError(
        f"No connection to the databases postgres or template1 at {server.host}:{server.warehouse_port}, "
        f"from which others are renamed. Nothing was changed. {failures[0]}"
    )


def _plan(settings: Settings, backup: Backup) -> list[_Task]:
    """What is restored, the warehouse first; what a killed restore has left is dropped."""
    servers = {WAREHOUSE: settings, METADATA: settings.metadata}
    tasks = []
    for key, server in servers.items():
        if key not in backup.manifest.databases:
            continue
        name = server.warehouse_db
        taken = set()
        with contextlib.closing(_maintenance(server)) as connection, connection.cursor() as cursor:
            cursor.execute("select datname, shobj_description(oid, 'pg_database') from pg_database")
            for other, comment in cursor.fetchall():
                if comment == _OURS and re.fullmatch(re.escape(name) + r"_restore_\d+", other):
                    cursor.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(other)))
                else:
                    taken.add(other)
        number = next(n for n in range(1, len(taken) + 2) if f"{name}_restore_{n}" not in taken)
        tasks.append(_Task(key, backup.manifest.databases[key], server, f"{name}_restore_{number}"))
    return tasks


def _bring_roles(tasks: Sequence[_Task]) -> None:
    """Make the warehouse's roles where they are missing.

    Raises:
        PlatformError: The backup gives something to a role that is none of ours and not there.
    """
    missing: set[str] = set()
    servers: list[Settings] = []
    for task in tasks:
        with contextlib.closing(_maintenance(task.server)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "select name from unnest(%s::text[]) as name "
                "where name not in (select rolname from pg_roles)",
                (list(task.part.roles),),
            )
            names = {name for (name,) in cursor.fetchall()}
        if names:
            missing |= names
            servers.append(task.server)
    if unknown := sorted(missing - set(roles.ALL)):
        statements = " ".join(f'create role "{name}";' for name in unknown)
        raise PlatformError(
            f"The backup gives tables or rights to roles that are not on this server: {', '.join(unknown)}. "
            f"Nothing was changed. As the owner run: {statements} Then run again."
        )
    for server in servers:
        with contextlib.closing(_maintenance(server)) as connection, connection.cursor() as cursor:
            roles.make_roles(cursor, server)


def _create(task: _Task) -> None:
    name = sql.Identifier(task.beside)
    with contextlib.closing(_maintenance(task.server)) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(sql.SQL("create database {} template template0").format(name))
        except errors.InsufficientPrivilege as error:
            raise PlatformError(
                f"The user {task.server.warehouse_user} may not make databases at {task.server.host}, and a "
                "backup is restored into one beside. Nothing was changed. As an administrator run: "
                f"alter role {task.server.warehouse_user} createdb;"
            ) from error
        cursor.execute(sql.SQL("comment on database {} is %s").format(name), (_OURS,))
        if task.part.grants is not None:
            cursor.execute(sql.SQL("revoke all on database {} from public").format(name))
            for role, right, is_grantable in task.part.grants:
                cursor.execute(
                    sql.SQL("grant {} on database {} to {}{}").format(
                        sql.SQL(right),
                        name,
                        sql.SQL("public") if role == "public" else sql.Identifier(role),
                        sql.SQL(" with grant option" if is_grantable else ""),
                    )
                )
        for holder, entry in task.part.settings:
            setting, _, value = entry.partition("=")
            whose = sql.SQL("role {} in ").format(sql.Identifier(holder)) if holder else sql.SQL("")
            parts = [part.strip().strip('"') for part in value.split(",")] if setting in _LISTS else [value]
            cursor.execute(
                sql.SQL("alter {}database {} set {} to {}").format(
                    whose,
                    name,
                    sql.SQL(".").join(map(sql.Identifier, setting.split("."))),
                    sql.SQL(", ").join(map(sql.Literal, parts)),
                )
            )


def _fill(task: _Task, backup: Backup) -> None:
    """pg_restore in two turns: schemas with their rights first, because a table's owner has to have a right
    there, which only a superuser's restore can do without."""
    dump = backup.folder / task.key
    contents = _pg_restore(task, "--list", str(dump))
    entries = [line for line in contents.splitlines() if re.match(r"\d+; ", line)]
    first = [line for line in entries if re.match(r"\d+; \d+ \d+ (SCHEMA - |ACL - SCHEMA )", line)]
    rest = [line for line in entries if line not in set(first)]
    with tempfile.TemporaryDirectory() as folder:
        for number, lines in enumerate((first, rest)):
            chosen = Path(folder) / f"contents-{number}"
            chosen.write_text("\n".join(lines) + "\n")
            if lines:
                _pg_restore(
                    task,
                    "--exit-on-error",
                    f"--jobs={JOBS if number else 1}",
                    f"--use-list={chosen}",
                    f"--dbname={task.beside}",
                    str(dump),
                )
    with contextlib.closing(database.connect(task.restored)) as connection, connection.cursor() as cursor:
        cursor.execute("analyze")


def _pg_restore(task: _Task, *arguments: str) -> str:
    done = subprocess.run(
        [client_program("pg_restore", task.server), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=client_environment(task.restored),
    )
    if done.returncode != 0:
        raise PlatformError(
            f"{task.server.warehouse_db} could not be restored; what is in use is as it was. pg_restore "
            f"says:\n{done.stderr.strip()}"
        )
    return done.stdout


def _prove(task: _Task) -> None:
    with contextlib.closing(db.connect(settings=task.restored)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection, connection.cursor() as cursor:
            found = set(fingerprints_in(cursor))
    expected: set[TableFingerprint] = set(task.part.tables)
    if differing := sorted({f"{each.schema}.{each.table}" for each in found ^ expected}):
        raise PlatformError(
            f"What was restored of {task.server.warehouse_db} is not what was backed up: "
            f"{', '.join(differing)} differ. What is in use is as it was."
        )


# --- putting in place --------------------------------------------------------------------------------------


def _swap(tasks: Sequence[_Task]) -> dict[str, str]:
    """Rename everything at once, on each server in one transaction; what was replaced → its name now."""
    # Two restores may fall into one second.
    stamp = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S%fZ}".lower()
    groups: dict[tuple[str, int], list[_Task]] = {}
    for task in tasks:
        groups.setdefault((task.server.host, task.server.warehouse_port), []).append(task)
    kept: dict[str, str] = {}
    done: list[tuple[Settings, list[tuple[str, str]]]] = []
    try:
        for group in groups.values():
            renames = []
            for task in group:
                name = task.server.warehouse_db
                if database.exists(task.server):
                    suffix = f"_before_{stamp}"
                    kept[name] = name[: _NAME_LIMIT - len(suffix)] + suffix
                    renames.append((name, kept[name]))
                renames.append((task.beside, name))
            _rename(group[0].server, renames)
            done.append((group[0].server, renames))
    except BaseException:
        for server, renames in reversed(done):
            _rename(server, [(new, old) for old, new in reversed(renames)])
        raise
    for task in tasks:
        _execute(
            task.server,
            sql.SQL("comment on database {} is null").format(sql.Identifier(task.server.warehouse_db)),
        )
    return kept


def _rename(server: Settings, renames: Sequence[tuple[str, str]]) -> None:
    deadline = time.monotonic() + _PATIENCE
    with contextlib.closing(_maintenance(server)) as connection:
        connection.autocommit = False
        while True:
            try:
                with connection, connection.cursor() as cursor:
                    for old, new in renames:
                        _send_away(cursor, old)
                        cursor.execute(
                            sql.SQL("alter database {} rename to {}").format(
                                sql.Identifier(old), sql.Identifier(new)
                            )
                        )
                return
            except errors.ObjectInUse as error:
                if time.monotonic() > deadline:
                    raise PlatformError(
                        "Others are connected all the time, so nothing was renamed, and what is in use is "
                        f"as it was: {str(error).strip()} End those programs, then run again."
                    ) from error


def _send_away(cursor: psycopg2.extensions.cursor, name: str) -> None:
    """End the sessions in a database that the owner may end."""
    cursor.execute(
        """
        select pg_terminate_backend(a.pid, 5000)
        from pg_stat_activity as a
        join pg_roles as r on r.oid = a.usesysid
        where a.datname = %s and a.pid <> pg_backend_pid()
            and (
                (select rolsuper from pg_roles where rolname = current_user)
                or not r.rolsuper and pg_has_role(r.oid, 'usage')
            )
        """,
        (name,),
    )


def _drop(server: Settings, name: str) -> None:
    _execute(server, sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def _execute(server: Settings, statement: sql.Composed) -> None:
    with contextlib.closing(_maintenance(server)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
