"""Airflow's processes: each is started in a session of its own and ended with all its children."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

#: A log larger than this is set aside when its component starts (bytes).
LOG_LIMIT = 10_000_000

#: Clocks are corrected while programs run: start times this near (s) belong to the same process.
_SAME_START = 10.0


@dataclass(frozen=True)
class Component:
    """A program that runs in the background.

    Attributes:
        name: What people call it; also the name of its log.
        arguments: Its command line.
    """

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Started:
    """What is remembered of a component that was started.

    Attributes:
        name: The component.
        pid: Process id of the session's leader; also the session's id.
        created: When that process started (s since 1970), because process ids are used again.
        digest: Of everything it was started with; another one means it has to be started anew.
    """

    name: str
    pid: int
    created: float
    digest: str

    def leader(self) -> psutil.Process | None:
        """The component's first process, or None when it is gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.created) < _SAME_START
            if is_same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    def members(self) -> list[psutil.Process]:
        """Every living process of the component's session, and their descendants elsewhere."""
        with contextlib.suppress(psutil.NoSuchProcess):
            # A process id is not given out again while a session bears it, so this one means: all gone.
            if abs(psutil.Process(self.pid).create_time() - self.created) >= _SAME_START:
                return []
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess, PermissionError):
                is_ours = os.getsid(process.pid) == self.pid
                if is_ours and process.create_time() > self.created - _SAME_START:
                    for member in [process, *process.children(recursive=True)]:
                        if member.status() != psutil.STATUS_ZOMBIE:
                            found[member.pid] = member
        return list(found.values())


def digest_of(parts: Sequence[object]) -> str:
    """Short digest of what a component is started with."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def log_file(home: Path, name: str) -> Path:
    """A component's log."""
    return home / "logs" / f"{name}.log"


def start(component: Component, home: Path, environment: Mapping[str, str], digest: str) -> Started:
    """Start a component in a session of its own, its output going to its log."""
    log = log_file(home, component.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        process = subprocess.Popen(
            component.arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=dict(environment),
            start_new_session=True,
        )
    started = Started(component.name, process.pid, psutil.Process(process.pid).create_time(), digest)
    process.returncode = 0  # it outlives us, so there is nobody to wait for it
    file = _pid_file(home, component.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    building = file.with_suffix(".building")
    building.write_text(json.dumps(started.__dict__))
    building.replace(file)
    return started


def run_to_end(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    start_new_session: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program that reads nothing to its end; `stdout` has all that it said, errors among it."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env=environment,
        start_new_session=start_new_session,
    )


def find(home: Path, name: str) -> Started | None:
    """What is remembered of a component, running or not."""
    try:
        return Started(**json.loads(_pid_file(home, name).read_text()))
    except FileNotFoundError:
        return None


def remembered(home: Path) -> list[str]:
    """Names of the components that were started and not stopped."""
    return sorted(file.stem for file in (home / "run").glob("*.json"))


def stop(home: Path, names: Iterable[str], *, patience: float = 20.0, drain: float = 0.0) -> list[str]:
    """End components with all their children: asked first, killed after `patience` seconds.

    Args:
        home: Of the platform.
        names: The components.
        patience: From the first question to the kill (s).
        drain: Longest wait (s) for what a component finishes before it ends, as a scheduler its tasks; within
            it only leaders are asked.

    Returns:
        The names of those of which something ran.
    """
    known = [started for name in names if (started := find(home, name))]
    running = [started.name for started in known if started.members()]
    # The leaders end their children in good order and say in Airflow's metadata that they have ended;
    # what is left of them later is asked, then killed.
    leaders = [leader for started in known if (leader := started.leader())]
    _signal(leaders, kill=False)
    _wait_for(known, max(patience / 2, drain) if leaders else 0)
    _signal(_members(known), kill=False)
    _wait_for(known, patience / 2)
    while remaining := _members(known):
        _signal(remaining, kill=True)
        time.sleep(0.1)
    for started in known:
        _pid_file(home, started.name).unlink(missing_ok=True)
    return running


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a text file; none when it is not there."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 400 * lines - 4_000))
        text = file.read().decode(errors="replace")
    return text.splitlines()[-lines:] if lines > 0 else []


def _wait_for(known: Iterable[Started], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _members(known) and time.monotonic() < deadline:
        time.sleep(0.1)


def _members(known: Iterable[Started]) -> list[psutil.Process]:
    return [process for started in known for process in started.members()]


def _signal(processes: Iterable[psutil.Process], *, kill: bool) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill() if kill else process.terminate()


def _pid_file(home: Path, name: str) -> Path:
    return home / "run" / f"{name}.json"
