"""Steps of the pipeline in processes of their own that are killed before a given statement.

One helper process keeps everything imported and the dbt project parsed; for each order it forks a child,
which works and kills itself (or the server that works for it) as hard as can be before its n-th statement. So
a kill costs no start of Python, and happens at the same place each time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Order:
    """What a victim does.

    Attributes:
        step: `load`, `build` or `publish`.
        options: Of the step: `source` and `business_date` of a load, `select` of a build.
        kill_before: Number of the statement before which it is killed, from 1; 0: never.
        victim: `process`, or `server` for the server's process of its session.
    """

    step: str
    options: dict[str, Any]
    kill_before: int = 0
    victim: str = "process"


@dataclass(frozen=True)
class Fate:
    """What became of a victim: killed, or at its end after so many statements."""

    is_killed: bool
    statements: int


class Victims:
    """The helper process.

    Args:
        settings: As keyword arguments of `Settings`, in JSON's types.
        folder: dbt's folder of the parsed project.
    """

    def __init__(self, settings: dict[str, Any], folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.victims", json.dumps(settings), str(folder)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *orders: Order) -> list[Fate]:
        """Let victims work side by side; what became of each.

        Raises:
            AssertionError: One failed for another reason than its kill.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([asdict(order) for order in orders]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the helper process is gone ({self._process.poll()})"
        fates: list[dict[str, Any]] = json.loads(answer)
        for order, fate in zip(orders, fates, strict=True):
            assert not fate["error"], f"{order}: {fate['error']}"
        return [Fate(fate["is_killed"], fate["statements"]) for fate in fates]

    def close(self) -> None:
        """End the helper process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


# ---- the helper process ----------------------------------------------------------------------------------


class _Countdown:
    """Counts the statements of this process, and kills before the one that is wanted."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.count = 0

    def __call__(self, connection: Any) -> None:
        self.count += 1
        if self.count == self.order.kill_before:
            if self.order.victim == "server":
                os.kill(connection.info.backend_pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)


def _count_statements(countdown: _Countdown) -> None:
    import psycopg2
    import psycopg2.extensions

    class Connection(psycopg2.extensions.connection):
        def cursor(self, *args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("cursor_factory", Cursor)
            return super().cursor(*args, **kwargs)

        def commit(self) -> None:
            countdown(self)
            super().commit()

    class Cursor(psycopg2.extensions.cursor):
        def execute(self, *args: Any, **kwargs: Any) -> Any:
            countdown(self.connection)
            return super().execute(*args, **kwargs)

        def copy_expert(self, *args: Any, **kwargs: Any) -> Any:
            countdown(self.connection)
            return super().copy_expert(*args, **kwargs)

    connect: Callable[..., Any] = psycopg2.connect

    def connect_counting(*args: Any, **kwargs: Any) -> Any:
        return connect(*args, **kwargs | {"connection_factory": Connection})

    psycopg2.connect = connect_counting


def _work(order: Order, settings: Any, database: Any) -> None:
    if order.step == "load":
        import datetime as dt

        from ecommerce_dw.loading import load

        date = order.options["business_date"]
        load(
            settings,
            source=order.options["source"],
            business_date=date and dt.date.fromisoformat(date),
            workers=1,
        )
    elif order.step == "publish":
        from ecommerce_dw.publish import publish

        publish(settings)
    else:
        # one thread: the n-th statement is then the same one each time
        outcome = database.invoke("--quiet", "run", "--threads", "1", "--select", *order.options["select"])
        if not outcome.success:
            raise RuntimeError(outcome.exception or [r.message for r in outcome.result.results if r.message])


def _fork(order: Order, settings: Any, database: Any) -> tuple[int, int]:
    """Start a child; its process id, and where it tells how it went."""
    readable, writable = os.pipe()
    child = os.fork()
    if child:
        os.close(writable)
        return child, readable
    os.dup2(2, 1)  # what it prints is no answer
    countdown = _Countdown(order)
    error = ""
    try:
        _count_statements(countdown)
        _work(order, settings, database)
    except BaseException:  # noqa: BLE001 - handed to the test
        error = traceback.format_exc()
    os.write(writable, json.dumps({"statements": countdown.count, "error": error}).encode())
    os._exit(0)


def _wait(child: int, readable: int) -> dict[str, Any]:
    with os.fdopen(readable) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"is_killed": True, "statements": 0, "error": ""}
    return {"is_killed": False, **json.loads(text)}


def main() -> None:
    """Read orders, a line each; answer with what became of them."""
    from ecommerce_dw.settings import Settings
    from tests.support.dbt_warehouse import DbtDatabase

    settings = Settings(_env_file=None, **json.loads(sys.argv[1]))
    database = DbtDatabase(settings, Path(sys.argv[2]))
    answers = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        orders = [Order(**order) for order in json.loads(line)]
        if any(order.step == "build" for order in orders) and database.manifest is None:
            database.parse()
        children = [_fork(order, settings, database) for order in orders]
        fates = [_wait(child, readable) for child, readable in children]
        if not any(order.victim == "server" and order.kill_before for order in orders):
            os.write(answers, (json.dumps(fates) + "\n").encode())
            continue
        # where the server was killed, others' sessions ended with it
        os.write(answers, (json.dumps([fate | {"error": ""} for fate in fates]) + "\n").encode())


if __name__ == "__main__":
    main()
