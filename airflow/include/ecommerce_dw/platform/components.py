"""The components that a deployment starts anew one after the other: what it has to know of them.

`HostComponents` are processes on this host. Services of another kind (containers, units of an init system)
are rolled by the same `roll` when they answer to `Components`.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from ecommerce_dw.platform import orchestrator, processes
from ecommerce_dw.platform.configuration import program_environment, write_configuration
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.settings import Settings

#: Longest wait for a component to become healthy (s).
HEALTH_TIMEOUT = 180.0


class Components(Protocol):
    """A platform's components, as one release starts them."""

    @property
    def order(self) -> Sequence[str]:
        """Their names in the order they are started."""

    @property
    def task_runners(self) -> Collection[str]:
        """Those that have tasks in hand."""

    @property
    def served_by(self) -> Collection[str]:
        """Those that a running task needs: they are not stopped while one runs."""

    def is_current(self, name: str) -> bool:
        """Whether it runs from this release, with these settings."""

    def stop(self, name: str, *, drain: float) -> None:
        """End it; one with tasks in hand when they have ended, or after `drain` seconds."""

    def start(self, name: str) -> None:
        """Start it from this release."""

    def wait_until_healthy(self, name: str) -> None:
        """Wait until it does its work.

        Raises:
            PlatformError: It ended, or does not get there; the message ends with its last words.
        """


def roll(
    components: Components,
    *,
    drain: float,
    in_the_gap: Callable[[], None] = lambda: None,
    progress: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Start anew, one after the other, what does not run from this release with these settings.

    Each is healthy before the next is touched. No task is lost: those in hand are let finish before what runs
    them, or what they need, is stopped, and no new one starts until both are back.

    Args:
        components: What is rolled.
        drain: Longest wait for tasks in hand (s); after it they are ended, and tried again later.
        in_the_gap: Called once, while no task runs.
        progress: Told what is done next.

    Returns:
        The names of those that were started.

    Raises:
        PlatformError: A component is not healthy; when it was started anew, those after it were not touched.
    """
    rolled: list[str] = []
    is_quiet = False
    for name in components.order:
        if components.is_current(name):
            continue
        if name in (*components.task_runners, *components.served_by) and not is_quiet:
            for runner in components.task_runners:
                progress(f"{runner}: letting its tasks end")
                components.stop(runner, drain=drain)
            in_the_gap()
            is_quiet = True
        progress(f"{name}: starting from this release")
        components.stop(name, drain=0)
        components.start(name)
        components.wait_until_healthy(name)
        rolled.append(name)
    for name in components.order:
        components.wait_until_healthy(name)  # also what was left alone
    return rolled


class HostComponents:
    """Airflow's processes on this host.

    Args:
        settings: Of this installation. Airflow's configuration is written at the first start.
    """

    # The scheduler's tasks are its children and speak to the api-server.
    order: Sequence[str] = ("dag-processor", "triggerer", "api-server", "scheduler")
    task_runners: Collection[str] = ("scheduler",)
    served_by: Collection[str] = ("api-server",)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        configuration = write_configuration(settings)
        self._programs = {component.name: component for component in orchestrator.components(settings)}
        self._digests = {
            name: orchestrator.digest(settings, component, configuration)
            for name, component in self._programs.items()
        }
        self._started: dict[str, dt.datetime] = {}

    def is_current(self, name: str) -> bool:
        """Whether it runs from this release, with these settings."""
        known = processes.find(self._settings.home, name)
        return known is not None and known.leader() is not None and known.digest == self._digests[name]

    def stop(self, name: str, *, drain: float) -> None:
        """End it with all its children."""
        processes.stop(self._settings.home, [name], drain=drain)

    def start(self, name: str) -> None:
        """Start it from this release."""
        if name == "api-server":
            orchestrator.need_free_port(self._settings)
        self._started[name] = dt.datetime.now(dt.UTC)
        environment = program_environment(self._settings)
        processes.start(self._programs[name], self._settings.home, environment, self._digests[name])

    def wait_until_healthy(self, name: str) -> None:
        """Wait for its heartbeat or answer; of the dag-processor, until it has read the pipeline's file."""
        deadline = time.monotonic() + HEALTH_TIMEOUT
        while (state := orchestrator.health(self._settings)[name]) != "healthy":
            if state == "dead" or time.monotonic() > deadline:
                raise self._unhealthy(name, "ended" if state == "dead" else "did not become healthy")
            time.sleep(0.2)
        if name != "dag-processor" or name not in self._started:
            return
        if not orchestrator.wait_for_files(self._settings, self._started[name], deadline - time.monotonic()):
            raise self._unhealthy(name, "did not read the pipeline's file")

    def _unhealthy(self, name: str, what: str) -> PlatformError:
        log = processes.log_file(self._settings.home, name)
        return PlatformError(
            f"Airflow's {name} {what} within {HEALTH_TIMEOUT:.0f} s. Its log {log} ends:\n"
            + "\n".join(processes.tail(log, 20))
        )
