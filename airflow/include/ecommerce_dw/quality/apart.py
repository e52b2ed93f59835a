"""Checkpoints in a process of their own, ready before they are asked for.

Importing Great Expectations takes 2 s and 150 MB. Beside the load and the first layer it costs no time, and
the memory is given back with the process.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Protocol

from ecommerce_dw.settings import Settings

#: How long an idle process may take to end before it is told to (s).
_GRACE_SECONDS = 5.0


class Check(Protocol):
    """`ecommerce_dw.pipeline.check_step` of a run, by the checkpoint's name."""

    def __call__(self, checkpoint: str, *, meanwhile: Callable[[], None] | None = None) -> dict[str, object]:
        """Validate it; `meanwhile` is called in this process before the answer is waited for."""


@contextmanager
def checkpoints_apart(settings: Settings, run_id: str) -> Iterator[Check]:
    """Start the process; gives what validates a run's checkpoints in it.

    The process ends with the context, and with this process however that ends.

    Raises (what it gives):
        ecommerce_dw.pipeline.CheckFailedError: A critical expectation failed and nobody accepted it.
        RuntimeError: The process ended without an answer.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, settings, run_id, logging.root.level), daemon=True)
    process.start()
    there.close()

    def check(checkpoint: str, *, meanwhile: Callable[[], None] | None = None) -> dict[str, object]:
        here.send(checkpoint)
        if meanwhile:
            meanwhile()
        try:
            outcome = here.recv()
        except EOFError:
            process.join()
            raise RuntimeError(
                f"The process of checkpoint {checkpoint} ended with code {process.exitcode} and no answer."
            ) from None
        if isinstance(outcome, BaseException):
            raise outcome
        result: dict[str, object] = outcome
        return result

    try:
        yield check
    finally:
        here.close()
        process.join(_GRACE_SECONDS)
        if process.is_alive():
            process.terminate()
            process.join()


def _serve(connection: Connection, settings: Settings, run_id: str, log_level: int) -> None:
    """Answer until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    import ecommerce_dw.quality.gx  # noqa: F401 - what takes the time
    from ecommerce_dw import logs, pipeline

    logs.configure(settings, log_level)
    while True:
        try:
            checkpoint = connection.recv()
        except EOFError:
            return
        try:
            connection.send(pipeline.check_step(checkpoint, run_id=run_id, settings=settings))
        except Exception as error:  # noqa: BLE001 - it is raised where the checkpoint was asked for
            connection.send(error)
