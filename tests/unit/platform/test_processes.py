"""Programs in the background: real processes, started and ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ecommerce_dw.platform import processes
from ecommerce_dw.platform.processes import Component

#: Ignores SIGTERM, as does its child, which is in a process group of its own.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, __file__, "child"], process_group=0)
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    processes.stop(tmp_path, ["sleeper", "stubborn"], patience=0.2)


def sleeper() -> Component:
    return Component(
        "sleeper", (sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)")
    )


def wait_for_log(home: Path, name: str, lines: int = 1) -> None:
    deadline = time.monotonic() + 20
    while len(processes.tail(processes.log_file(home, name), 10)) < lines:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_component_is_found_and_stopped(home: Path) -> None:
    started = processes.start(sleeper(), home, os.environ, "digest")
    wait_for_log(home, "sleeper")
    assert processes.find(home, "sleeper") == started
    assert started.leader() is not None
    assert processes.stop(home, ["sleeper"]) == ["sleeper"]
    assert started.members() == []
    assert processes.find(home, "sleeper") is None
    assert processes.stop(home, ["sleeper"]) == []


def test_component_that_ignores_sigterm_is_killed_with_its_children(home: Path) -> None:
    script = home / "stubborn.py"
    script.write_text(STUBBORN)
    started = processes.start(Component("stubborn", (sys.executable, str(script))), home, os.environ, "d")
    wait_for_log(home, "stubborn", lines=2)
    members = started.members()
    assert len(members) == 2
    processes.stop(home, ["stubborn"], patience=0.4)
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in members)


def test_children_of_a_killed_component_are_stopped(home: Path) -> None:
    script = home / "stubborn.py"
    script.write_text(STUBBORN)
    started = processes.start(Component("stubborn", (sys.executable, str(script))), home, os.environ, "d")
    wait_for_log(home, "stubborn", lines=2)
    os.kill(started.pid, 9)
    while started.leader() is not None:
        time.sleep(0.02)
    assert len(started.members()) == 1
    assert processes.stop(home, ["stubborn"], patience=0.4) == ["stubborn"]
    assert started.members() == []


def test_recycled_process_id_is_left_alone(home: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        (home / "run").mkdir()
        remembered = {"name": "sleeper", "pid": other.pid, "created": time.time() - 86_400, "digest": "d"}
        (home / "run" / "sleeper.json").write_text(json.dumps(remembered))
        known = processes.find(home, "sleeper")
        assert known is not None and known.leader() is None and known.members() == []
        assert processes.stop(home, ["sleeper"]) == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_long_log_is_set_aside_at_the_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = processes.log_file(home, "sleeper")
    log.parent.mkdir()
    log.write_text("old\n" * 100)
    monkeypatch.setattr(processes, "LOG_LIMIT", 100)
    processes.start(sleeper(), home, os.environ, "d")
    wait_for_log(home, "sleeper")
    assert processes.tail(log, 5) == ["up"]
    assert log.with_suffix(".log.1").read_text().startswith("old")
