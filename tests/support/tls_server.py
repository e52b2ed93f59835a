"""A PostgreSQL that speaks TLS and nothing else: Debian's, for the embedded one is built without."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecommerce_dw.platform.postgres import free_port

#: Of the owner `warehouse`.
PASSWORD = "warehouse"


def _programs() -> Path | None:
    """The newest PostgreSQL with TLS."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest_first = sorted(found, key=lambda path: int(path.parts[-3]), reverse=True)
    return next((path.parent for path in newest_first if b"ssl_cert_file" in path.read_bytes()), None)


class TlsServer:
    """A server that lets in who comes with TLS and the password.

    Attributes:
        folder: Of its data.
        host: Where it listens.
        port: There.
    """

    def __init__(self, folder: Path, programs: Path, host: str) -> None:
        self.folder = folder / "data"
        self.host = host
        self.port = free_port()
        self._programs = programs
        self._user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses root
        if self._user:
            shutil.chown(folder, self._user)
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "-D", str(self.folder), "-U", "warehouse", "-A", "scram-sha-256",
                  f"--pwfile={password}", "--no-sync", "--encoding=UTF8", "--locale=C")  # fmt: skip
        (self.folder / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")

    def take(self, certificates: Path) -> None:
        """Copy certificate and key to the server, as its administrator does."""
        for name in ("server.crt", "server.key"):
            target = self.folder / name
            shutil.copyfile(certificates / name, target)
            target.chmod(0o600)
            if self._user:
                shutil.chown(target, self._user)

    def start(self) -> None:
        """Start it, with the certificate it has taken."""
        options = (
            f"-p {self.port} -c ssl=on -c fsync=off -c listen_addresses={self.host} "
            "-c unix_socket_directories=''"
        )
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.folder), "-l", log, "-o", options, "-w", "start")

    def stop(self) -> None:
        """Stop it, where it runs."""
        if (self.folder / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self.folder), "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        with tempfile.TemporaryFile() as output:  # and no pipe: the server keeps it open
            done = subprocess.run(command, user=self._user, stdout=output, stderr=output, cwd="/")
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


@contextlib.contextmanager
def tls_server(host: str = "localhost") -> Iterator[TlsServer]:
    """One that is not started: it has no certificate yet. Skips where there is no such PostgreSQL."""
    programs = _programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL with TLS in /usr/lib/postgresql (Debian's package postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="ecommerce-dw-tls-"))
    folder.chmod(0o755)
    try:
        server = TlsServer(folder, programs, host)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
