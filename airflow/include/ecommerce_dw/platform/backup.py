"""Backups: the warehouse's database, Airflow's metadata and the journal of decisions, as of one moment each.

A backup is a folder:

    manifest.json      what it is of, each file's size and SHA-256, each table's row count and fingerprint
    warehouse/         pg_dump's directory format
    airflow/           the same, of Airflow's metadata
    decisions.jsonl    the journal
    tombstones.jsonl   who was forgotten, as keyed hashes

It is written beside, under a name that begins with a dot, and renamed; so what bears a backup's name is
whole. Landing files and secrets are not in it (docs/production.md says what to keep).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

from ecommerce_dw import db
from ecommerce_dw.fingerprint import TableFingerprint, fingerprints_in
from ecommerce_dw.loading.journal import journal_file
from ecommerce_dw.loading.tombstones import tombstones_file
from ecommerce_dw.platform import database
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.postgres import binaries_dir, port_is_free
from ecommerce_dw.settings import PROJECT_DIR, Settings

#: Version of a backup's layout. A greater one is of a later version of the project, which may not be read.
FORMAT = 1

MANIFEST = "manifest.json"
JOURNAL = "decisions.jsonl"
TOMBSTONES = "tombstones.jsonl"
WAREHOUSE, METADATA = "warehouse", "airflow"

#: Tables dumped, and restored, side by side.
JOBS = 2

_BUILDING = re.compile(r"\.ecommerce-dw-.+\.building")


@dataclass(frozen=True)
class DatabasePart:
    """A database in a backup.

    Attributes:
        name: What it was called.
        revision: Of its migrations: the project's, or Airflow's.
        roles: Roles that own something in it or have rights there.
        grants: Rights on the database itself: (role, right, whether it may be passed on); `public` is a role.
            None where they are the server's default.
        settings: Settings that hold in it: (role or None for all, `name=value`).
        tables: Every table's row count and fingerprint.
    """

    name: str
    revision: str
    roles: tuple[str, ...]
    grants: tuple[tuple[str, str, bool], ...] | None
    settings: tuple[tuple[str | None, str], ...]
    tables: tuple[TableFingerprint, ...]


@dataclass(frozen=True)
class Manifest:
    """What a backup says about itself.

    Attributes:
        format: `FORMAT` of the version that wrote it.
        taken_at: The moment of the warehouse's snapshot, ISO 8601 in UTC.
        project: Version of the project.
        release: Name of the release it was taken with; None where a checkout runs.
        postgresql: Version of the server, as `server_version_num`.
        airflow: Version of Airflow.
        databases: `warehouse`, and `airflow` unless the metadata were out of reach.
        files: Path in the folder → size (bytes) and SHA-256.
    """

    format: int
    taken_at: str
    project: str
    release: str | None
    postgresql: int
    airflow: str
    databases: Mapping[str, DatabasePart]
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def text(self) -> str:
        """The manifest as it is written."""
        content = asdict(self)
        for part in content["databases"].values():
            part["tables"] = [table._asdict() for table in part["tables"]]
        return json.dumps(content, indent=1) + "\n"


@dataclass(frozen=True)
class Backup:
    """A finished backup.

    Attributes:
        folder: Where it is.
        manifest: What is in it.
    """

    folder: Path
    manifest: Manifest

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(int(file["bytes"]) for file in self.manifest.files.values())

    def as_dict(self) -> dict[str, object]:
        """The backup for machines."""
        return {
            "folder": str(self.folder),
            "taken_at": self.manifest.taken_at,
            "bytes": self.bytes,
            "tables": {name: len(part.tables) for name, part in self.manifest.databases.items()},
            "rows": {
                name: sum(table.rows for table in part.tables)
                for name, part in self.manifest.databases.items()
            },
        }


# --- taking one --------------------------------------------------------------------------------------------


def back_up(settings: Settings, folder: Path | None = None, *, has_metadata: bool = True) -> Backup:
    """Take a backup.

    Loads go on meanwhile; what builds or publishes waits, because it exchanges tables.

    Args:
        settings: Of this installation.
        folder: Where to; it must not be there yet. None makes a dated one in BACKUP_DIR.
        has_metadata: Whether Airflow's metadata are in it: tasks in containers do not reach them.

    Raises:
        PlatformError: It could not be taken; nothing bears a backup's name.
        ecommerce_dw.db.LockHeldError: A build was going all the time allowed.
    """
    folder = folder or _new_folder(settings)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise PlatformError(f"{folder} is there already. Nothing was changed. Name a folder that is not.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder.parent)
        with _building(folder) as building:
            return _write(settings, building, folder, has_metadata=has_metadata)
    except OSError as error:
        raise PlatformError(
            f"The backup could not be written: {error}. There is none at {folder}."
        ) from error


def _new_folder(settings: Settings) -> Path:
    if settings.backup_dir is None:
        raise PlatformError("There is no place for backups: set BACKUP_DIR, or name a folder.")
    return settings.backup_dir / f"{settings.warehouse_db}-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"


def remove_unfinished(parent: Path) -> list[str]:
    """Remove what interrupted backups have left in a folder, but for one that is being written now.

    Returns:
        The names of what was removed.
    """
    removed = []
    for path in sorted(parent.iterdir()):
        if not _BUILDING.fullmatch(path.name) or not path.is_dir():
            continue
        with _locked(path) as is_ours:
            if is_ours:
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path.name)
    return removed


@contextlib.contextmanager
def _building(folder: Path) -> Iterator[Path]:
    """A folder beside, which only its owner enters; gone at the end unless it was renamed."""
    building = folder.with_name(f".ecommerce-dw-{folder.name}.{os.getpid()}.building")
    building.mkdir(mode=0o700)
    try:
        with _locked(building):
            yield building
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock, which ends with the process; whether it was free."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    is_free = True
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_free = False
        except OSError:  # a file system without locks
            pass
        yield is_free
    finally:
        os.close(descriptor)


def _write(settings: Settings, building: Path, folder: Path, *, has_metadata: bool) -> Backup:
    parts: dict[str, DatabasePart] = {}
    with db.shared_transform_lock(holder=f"backup to {folder.name}", settings=settings):
        taken_at = dt.datetime.now(dt.UTC)
        parts[WAREHOUSE] = _dump(settings, building / WAREHOUSE, "ops.schema_migrations")
        number = server_number(settings)
    if has_metadata and database.exists(settings.metadata):
        parts[METADATA] = _dump(settings.metadata, building / METADATA, "public.alembic_version")
    # After the snapshot: a decision is in the journal before the database has it.
    journal = journal_file(settings)
    if journal.exists():
        shutil.copyfile(journal, building / JOURNAL)
    if (tombstones := tombstones_file(settings)).exists():
        shutil.copyfile(tombstones, building / TOMBSTONES)
    release = PROJECT_DIR.name if PROJECT_DIR.parent == settings.home / "releases" else None
    manifest = Manifest(
        format=FORMAT,
        taken_at=taken_at.isoformat(timespec="seconds"),
        project=version("ecommerce-dw"),
        release=release,
        postgresql=number,
        airflow=version("apache-airflow"),
        databases=parts,
        files={str(path.relative_to(building)): _seal(path) for path in _files(building)},
    )
    (building / MANIFEST).write_text(manifest.text())
    _seal(building / MANIFEST)
    for path in (building, *(path for path in building.iterdir() if path.is_dir())):
        path.chmod(0o700)
        _sync(path)
    building.rename(folder)
    _sync(folder.parent)
    return Backup(folder, manifest)


def _dump(server: Settings, target: Path, revision_table: str) -> DatabasePart:
    """Dump a database, and fingerprint its tables in the very snapshot that is dumped."""
    with contextlib.closing(
        db.connect(settings=server, application_name="ecommerce-dw: backup")
    ) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection, connection.cursor() as cursor:
            cursor.execute("select pg_export_snapshot()")
            (snapshot,) = cursor.fetchone() or ("",)
            with subprocess.Popen(
                [
                    client_program("pg_dump", server),
                    "--format=directory",
                    f"--jobs={JOBS}",
                    f"--snapshot={snapshot}",
                    f"--lock-wait-timeout={server.table_lock_timeout}",
                    f"--file={target}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=client_environment(server),
                umask=0o077,
            ) as dump:
                try:
                    part = _describe(cursor, server.warehouse_db, revision_table)
                    said, _ = dump.communicate()
                except psycopg2.Error as error:
                    raise PlatformError(
                        f"The database {server.warehouse_db} could not be dumped; there is no backup. "
                        f"{str(error).strip()}"
                    ) from error
                finally:
                    if dump.poll() is None:
                        dump.terminate()
    if dump.returncode != 0:
        raise PlatformError(
            f"The database {server.warehouse_db} could not be dumped; there is no backup. pg_dump says:\n"
            f"{said.strip()}"
        )
    return part


def _describe(cursor: psycopg2.extensions.cursor, name: str, revision_table: str) -> DatabasePart:
    cursor.execute("select to_regclass(%s)", (revision_table,))
    revision = ""
    if (cursor.fetchone() or (None,))[0] is not None:
        cursor.execute(f"select version_num from {revision_table}")
        (revision,) = cursor.fetchone() or ("",)
    cursor.execute(
        """
        select distinct r.rolname
        from pg_shdepend as s
        join pg_database as d on d.oid = s.dbid
        join pg_roles as r on r.oid = s.refobjid
        where d.datname = current_database() and s.refclassid = 'pg_authid'::regclass
            and r.rolname !~ '^pg_'
        union
        select r.rolname
        from pg_db_role_setting as s
        join pg_database as d on d.oid = s.setdatabase
        join pg_roles as r on r.oid = s.setrole
        where d.datname = current_database()
        union
        -- a server's first role is in none of those lists
        select r.rolname from pg_class as c join pg_roles as r on r.oid = c.relowner where c.oid >= 16384
        order by 1
        """
    )
    roles = tuple(role for (role,) in cursor.fetchall())
    cursor.execute(
        """
        select coalesce(r.rolname, 'public'), a.privilege_type, a.is_grantable
        from pg_database as d
        cross join lateral aclexplode(d.datacl) as a
        left join pg_roles as r on r.oid = a.grantee
        where d.datname = current_database() and a.grantee <> d.datdba
        order by 1, 2
        """
    )
    grants = tuple((role, right, is_grantable) for role, right, is_grantable in cursor.fetchall())
    cursor.execute("select datacl is null from pg_database where datname = current_database()")
    (is_default,) = cursor.fetchone() or (True,)
    cursor.execute(
        """
        select r.rolname, entry
        from pg_db_role_setting as s
        join pg_database as d on d.oid = s.setdatabase
        left join pg_roles as r on r.oid = s.setrole
        cross join lateral unnest(s.setconfig) as entry
        where d.datname = current_database()
        order by 1 nulls first, 2
        """
    )
    held = tuple((role, entry) for role, entry in cursor.fetchall())
    tables = tuple(fingerprints_in(cursor))
    return DatabasePart(name, str(revision), roles, None if is_default else grants, held, tables)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _seal(path: Path) -> dict[str, Any]:
    """Make a file its owner's alone, and durable; its size and digest."""
    path.chmod(0o600)
    _sync(path)
    return {"bytes": path.stat().st_size, "sha256": digest_of(path)}


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- those that are there ----------------------------------------------------------------------------------


class DamagedError(PlatformError):
    """A backup is not what its manifest says, or has none."""


def read_backup(folder: Path) -> Backup:
    """Read a backup's manifest; the files are not looked at.

    Raises:
        DamagedError: There is none, or it can't be read.
        PlatformError: It is of a later version of the project.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise DamagedError(
            f"{folder} is no backup: it has no {MANIFEST}. Nothing was changed. A folder whose name begins "
            "with a dot is one that was not finished."
        )
    try:
        content = json.loads(file.read_text())
        written = int(content["format"])
        if written > FORMAT:
            raise PlatformError(
                f"{folder} is of a later version of the project ({content.get('project', 'unknown')}, format "
                f"{written}; this one reads up to {FORMAT}). Nothing was changed. Restore it with "
                "that version."
            )
        parts = {name: _part(part) for name, part in content["databases"].items()}
        known = {each.name for each in fields(Manifest)}
        manifest = Manifest(**{name: content[name] for name in known if name != "databases"}, databases=parts)
        if WAREHOUSE not in parts or not all(
            {"bytes", "sha256"} <= set(each) for each in manifest.files.values()
        ):
            raise ValueError("something is missing in it")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(
            f"{file} can't be read ({type(error).__name__}: {error}). Nothing was changed. Take another "
            "backup."
        ) from error
    return Backup(folder, manifest)


def _part(content: Mapping[str, Any]) -> DatabasePart:
    grants = content["grants"]
    return DatabasePart(
        name=str(content["name"]),
        revision=str(content["revision"]),
        roles=tuple(content["roles"]),
        grants=None if grants is None else tuple((role, right, bool(may)) for role, right, may in grants),
        settings=tuple((role, entry) for role, entry in content["settings"]),
        tables=tuple(TableFingerprint(**table) for table in content["tables"]),
    )


def check_files(backup: Backup) -> None:
    """Compare every file with what the manifest says of it.

    Raises:
        DamagedError: One is missing, or another than it was; all of them are named.
    """
    problems = []
    for name, said in backup.manifest.files.items():
        path = backup.folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != said["bytes"]:
            problems.append(f"{name} has {path.stat().st_size} bytes in place of {said['bytes']}")
        elif digest_of(path) != said["sha256"]:
            problems.append(f"{name} has another content")
    if problems:
        raise DamagedError(
            f"{backup.folder} is damaged: {'; '.join(problems)}. Nothing was changed. Take another backup."
        )


def backups_in(settings: Settings) -> list[Backup]:
    """The finished, dated backups of this warehouse in BACKUP_DIR, oldest first."""
    if settings.backup_dir is None or not settings.backup_dir.is_dir():
        return []
    dated = re.compile(re.escape(settings.warehouse_db) + r"-\d{8}T\d{6}Z")
    found = []
    for path in sorted(settings.backup_dir.iterdir()):
        if dated.fullmatch(path.name) and path.is_dir():
            with contextlib.suppress(PlatformError):
                found.append(read_backup(path))
    return found


def prune_backups(settings: Settings) -> list[str]:
    """Delete all but the newest BACKUP_KEEP dated backups in BACKUP_DIR, and what interrupted ones left.

    What a person has named, and what can't be read, stays.

    Returns:
        The names of those deleted.
    """
    if settings.backup_dir is None:
        return []
    deleted = []
    for backup in backups_in(settings)[: -settings.backup_keep]:
        # Under the name of an unfinished one, so that half of it is never taken for a backup.
        doomed = backup.folder.with_name(f".ecommerce-dw-{backup.folder.name}.building")
        backup.folder.rename(doomed)
        deleted.append(backup.folder.name)
    remove_unfinished(settings.backup_dir)
    return deleted


# --- PostgreSQL's programs ---------------------------------------------------------------------------------


def client_program(name: str, server: Settings) -> str:
    """Path of one of PostgreSQL's programs, fit for a server.

    The embedded ones are built without TLS, so for another machine's server the system's own are preferred
    where they are new enough.
    """
    own = binaries_dir()
    if not server.is_embedded:
        folders = [folder for folder in os.get_exec_path() if Path(folder) != own]
        found = shutil.which(name, path=os.pathsep.join(folders))
        if found and _major(found) >= database.MINIMUM_VERSION:
            return found
    return str(own / name)


def _major(program: str) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    number = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(number.group(1)) if number else 0


def client_environment(server: Settings) -> dict[str, str]:
    """The environment in which they log in as the owner; a password is never an argument."""
    user, password = server.role_login("owner")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return inherited | {
        "PGHOST": server.host,
        "PGPORT": str(server.warehouse_port),
        "PGUSER": user,
        "PGPASSWORD": password,
        "PGDATABASE": server.warehouse_db,
        "PGSSLMODE": server.warehouse_sslmode,
        "PGCONNECT_TIMEOUT": str(server.connect_timeout_seconds),
        **({"PGSSLROOTCERT": server.warehouse_sslrootcert} if server.warehouse_sslrootcert else {}),
    }


def server_number(settings: Settings) -> int:
    """The server's version as a number, e.g. 180004."""
    with contextlib.closing(database.first_connection(settings)) as connection:
        return int(connection.server_version)


@contextlib.contextmanager
def running_server(settings: Settings) -> Iterator[None]:
    """See to it that the embedded server runs, and leave it as it was found."""
    if not settings.is_embedded:
        yield
        return
    server = database.embedded(settings)
    is_ours = not server.is_running() and port_is_free(settings.warehouse_port)
    if is_ours:
        server.start()
    try:
        yield
    finally:
        if is_ours:
            server.stop()
