"""Steps of the pipeline in processes of their own that are killed before a given statement or after a time.

One helper process keeps everything imported and the dbt project parsed; for each order it forks a child,
which works and is killed (or the server that works for it is) as hard as can be. So a kill costs no start of
Python, and one before the n-th statement happens at the same place each time.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

#: What is killed: the process that works, the server's process of its session, both of them, or the whole
#: server. Where the process is not, it goes on for as long as it can.
Victim = Literal["process", "backend", "server", "postmaster"]

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Order:
    """What a victim does.

    Attributes:
        step: `load`, `build` or `publish`; `pipeline` for steps as the DAG's tasks take them.
        options: Of the step: `source` and `business_date` of a load, `select` of a build; `steps`, `run_id`,
            `may_retry` and `marts` (see `_build_models`) of the pipeline; `postmaster` and `signal` where the
            whole server is the victim. Of all: `settings` and `environment` that are others for this one,
            and `memory`, the most it may have beyond what it begins with (bytes).
        kill_before: Number of the statement before which it is killed, from 1; 0: never.
        kill_after: Seconds after which it is killed; 0: never.
        victim: What is killed.
        may_fail: Whether it is expected to fail by itself.
    """

    step: str
    options: dict[str, Any]
    kill_before: int = 0
    kill_after: float = 0.0
    victim: Victim = "process"
    may_fail: bool = False

    @property
    def harms_others(self) -> bool:
        """Whether sessions of others end with it."""
        return self.victim != "process" and bool(self.kill_before or self.kill_after)


@dataclass(frozen=True)
class Fate:
    """What became of a victim.

    Attributes:
        is_killed: Whether it, or the server under it, was killed before its end.
        statements: How many it executed; 0 for a killed process.
        error: The traceback it failed with, where it was expected to or the server ended under it.
        seconds: How long it worked.
    """

    is_killed: bool
    statements: int
    error: str
    seconds: float


class Victims:
    """The helper process.

    Args:
        settings: As keyword arguments of `Settings`, in JSON's types.
        folder: dbt's folder of the parsed project.
        environment: Variables beside those of this process.
    """

    def __init__(
        self, settings: dict[str, Any], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.victims", json.dumps(settings), str(folder)],
            cwd=PROJECT,
            env=os.environ | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *orders: Order) -> list[Fate]:
        """Let victims work side by side; what became of each.

        Raises:
            AssertionError: One failed for another reason than a kill.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([asdict(order) for order in orders]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the helper process is gone ({self._process.poll()})"
        fates: list[dict[str, Any]] = json.loads(answer)
        are_harmed = any(order.harms_others for order in orders)
        for order, fate in zip(orders, fates, strict=True):
            assert are_harmed or order.may_fail or not fate["error"], f"{order}: {fate['error']}"
        return [Fate(**fate) for fate in fates]

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
        self.has_killed = False

    def __call__(self, connection: Any) -> None:
        self.count += 1
        if self.count == self.order.kill_before:
            self.has_killed = True
            if self.order.victim == "postmaster":
                _kill_postmaster(self.order)
            elif self.order.victim in ("backend", "server"):
                os.kill(connection.info.backend_pid, signal.SIGKILL)
            if self.order.victim in ("process", "server"):
                os.kill(os.getpid(), signal.SIGKILL)


def _kill_postmaster(order: Order) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(order.options["postmaster"], order.options["signal"])


def _kill(order: Order, child: int, settings: Any) -> bool:
    """Kill a victim in the middle of its work; whether there was anything to kill."""
    if order.victim == "postmaster":
        _kill_postmaster(order)
        return True
    is_there = True
    if order.victim in ("backend", "server"):
        from ecommerce_dw import db

        with db.transaction("owner", settings=settings) as cursor:
            cursor.execute(
                "select pid from pg_stat_activity where datname = current_database() "
                "and usename in ('loader', 'transformer') order by state = 'active' desc, xact_start limit 1"
            )
            row = cursor.fetchone()
        is_there = row is not None
        if row is not None:
            try:
                os.kill(row[0], signal.SIGKILL)
            except ProcessLookupError:  # it ended in between
                is_there = False
    if order.victim in ("process", "server"):
        os.kill(child, signal.SIGKILL)
    return is_there


def _count_statements(countdown: _Countdown) -> None:
    import psycopg2
    import psycopg2.extensions

    class Counting(psycopg2.extensions.connection):
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
        base = kwargs.get("connection_factory", psycopg2.extensions.connection)
        return connect(*args, **kwargs | {"connection_factory": type("Connection", (Counting, base), {})})

    psycopg2.connect = connect_counting


def _take_steps(options: dict[str, Any], settings: Any) -> None:
    from ecommerce_dw import pipeline

    run_id = options["run_id"]
    for step in options["steps"]:
        name, _, what = step.partition("_")
        if name == "load":
            pipeline.load_step(run_id=run_id, business_date=None, settings=settings)
        elif name == "build":
            may_retry = options.get("may_retry", False)
            pipeline.build_step(what, run_id=run_id, may_retry=may_retry, settings=settings)
        elif name == "check":
            pipeline.check_step(what, run_id=run_id, settings=settings)
        else:
            pipeline.publish_step(run_id=run_id, settings=settings)


def _build_models(marts: list[str]) -> None:
    """Let dbt build models alone: its tests only read, and one thread makes the n-th statement the same one.

    Args:
        marts: With what they are built of; none: all models.
    """
    from ecommerce_dw import transform

    command = transform._build_command

    def models_alone(layer: Any, run: Any) -> list[str]:
        arguments = command(layer, run)
        if marts:
            tag = arguments[arguments.index("--select") + 1]
            arguments[arguments.index(tag)] = " ".join(f"+{mart},{tag}" for mart in marts)
        return [*arguments, "--exclude-resource-type", "test", "--threads", "1"]

    transform._build_command = models_alone


def _prepare_pipeline(settings: Any) -> contextlib.AbstractContextManager[None]:
    """Import and parse once what every child needs."""
    import ecommerce_dw.quality.gx  # noqa: F401 - takes long to import
    from ecommerce_dw import transform

    kept = transform.parsed_once()
    kept.__enter__()
    transform.prepare("prepared", settings=settings)
    return kept


def _work(order: Order, settings: Any, database: Any) -> None:
    if order.step == "pipeline":
        _build_models(order.options["marts"])
        _take_steps(order.options, settings)
    elif order.step == "load":
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


def _limit_memory(size: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, resource.RLIM_INFINITY))


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
        try:
            _count_statements(countdown)
            os.environ.update(order.options.get("environment", {}))
            if memory := order.options.get("memory"):
                _limit_memory(memory)
            _work(order, settings.model_copy(update=order.options.get("settings", {})), database)
        except BaseException:  # noqa: BLE001 - handed to the test
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            error = traceback.format_exc()
        end = {"is_killed": countdown.has_killed, "statements": countdown.count, "error": error}
        os.write(writable, json.dumps(end).encode())
    finally:
        os._exit(0)


def _wait(order: Order, child: int, readable: int, settings: Any) -> dict[str, Any]:
    started = time.monotonic()
    is_killed = False
    with os.fdopen(readable) as pipe:
        if order.kill_after and not select.select([pipe], [], [], order.kill_after)[0]:
            is_killed = _kill(order, child, settings)
        text = pipe.read()
    seconds = time.monotonic() - started
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"is_killed": True, "statements": 0, "error": "", "seconds": seconds}
    end = json.loads(text)
    return end | {"is_killed": is_killed or end["is_killed"], "seconds": seconds}


def main() -> None:
    """Read orders, a line each; answer with what became of them."""
    from ecommerce_dw.settings import Settings
    from tests.support.dbt_warehouse import DbtDatabase

    settings = Settings(_env_file=None, **json.loads(sys.argv[1]))
    database = DbtDatabase(settings, Path(sys.argv[2]))
    answers = os.dup(1)
    os.dup2(2, 1)
    pipeline: Any = None
    for line in sys.stdin:
        orders = [Order(**order) for order in json.loads(line)]
        if any(order.step == "build" for order in orders) and database.manifest is None:
            database.parse()
        if any(order.step == "pipeline" for order in orders) and pipeline is None:
            pipeline = _prepare_pipeline(settings)
        children = [_fork(order, settings, database) for order in orders]
        fates = [_wait(order, *child, settings) for order, child in zip(orders, children, strict=True)]
        os.write(answers, (json.dumps(fates) + "\n").encode())


if __name__ == "__main__":
    main()
