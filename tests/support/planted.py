"""Secrets that are planted, and where they must not be found afterwards."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

PLANTED = (
    "warehouse_password", "loader_password", "transformer_password", "analyst_password", "monitor_password",
    "pii_reader_password", "api_password", "smtp_password", "airflow_admin_password", "airflow_fernet_key",
    "airflow_jwt_secret", "airflow_api_secret_key", "airflow_db_password", "redis_password", "erasure_key",
)  # fmt: skip

#: Files that are there to hold secrets; each is its owner's alone.
KEPT_IN = {"airflow.cfg", "passwords.json", "pgpass", "connections.json", "secrets.json"}


class Arguments(threading.Thread):
    """Looks at the arguments of this machine's processes, again and again, for planted secrets."""

    def __init__(self, planted: Mapping[str, str]) -> None:
        super().__init__(daemon=True)
        self.planted = planted
        self.found: set[str] = set()
        self.looks = 0
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.wait(0.05):
            self.looks += 1
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    line = " ".join(process.cmdline())
                    self.found |= {name for name, value in self.planted.items() if value in line}

    def __enter__(self) -> Arguments:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()


def files_of(*folders: Path) -> dict[str, str]:
    """Path → content of every file but those that are there to hold secrets, which nobody else may read."""
    places = {}
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink():
                if file.name in KEPT_IN:
                    assert file.stat().st_mode & 0o077 == 0, f"{file} can be read by others"
                else:
                    places[str(file)] = file.read_bytes().decode("latin-1")
    return places


def search(
    planted: Mapping[str, str], places: Mapping[str, str], arguments: Arguments, figure: Callable[..., None]
) -> set[tuple[str, str]]:
    """Which secret was found where; counted for the table at the end."""
    found = {
        (name, place) for name, value in planted.items() for place, text in places.items() if value in text
    } | {(name, "arguments of a process") for name in arguments.found}
    figure("security", "secrets planted", len(planted))
    figure("security", "secrets: places searched", len(places))
    figure("security", "secrets: looks at arguments of processes", arguments.looks)
    figure("security", "secrets found", len(found))
    return found
