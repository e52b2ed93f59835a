"""The order in which components are rolled, whatever they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from ecommerce_dw.platform.components import roll
from ecommerce_dw.platform.errors import PlatformError


class Notebook:
    """Components that note what is done to them: `roll` is to work for every kind."""

    order: Sequence[str] = ("parser", "api", "worker")
    task_runners: Collection[str] = ("worker",)
    served_by: Collection[str] = ("api",)

    def __init__(self, current: Collection[str] = (), ill: str | None = None) -> None:
        self.current = set(current)
        self.ill = ill
        self.notes: list[str] = []

    def is_current(self, name: str) -> bool:
        return name in self.current

    def stop(self, name: str, *, drain: float) -> None:
        self.notes.append(f"drain {name} {drain:g}" if drain else f"stop {name}")
        self.current.discard(name)

    def start(self, name: str) -> None:
        self.notes.append(f"start {name}")
        self.current.add(name)

    def wait_until_healthy(self, name: str) -> None:
        if name == self.ill:
            raise PlatformError(f"{name} is ill")

    def changes(self) -> list[str]:
        return [note for note in self.notes if note != "stop worker"]


def test_tasks_are_let_finish_before_what_they_need_is_replaced() -> None:
    components = Notebook()
    rolled = roll(components, drain=60, in_the_gap=lambda: components.notes.append("gap"))
    assert rolled == ["parser", "api", "worker"]
    assert components.changes() == [
        "stop parser", "start parser", "drain worker 60", "gap", "stop api", "start api", "start worker",
    ]  # fmt: skip


def test_what_is_current_is_left_alone() -> None:
    components = Notebook(current=("parser", "api", "worker"))
    assert roll(components, drain=60) == []
    assert components.notes == []


def test_runners_of_tasks_come_back_when_only_what_they_need_was_replaced() -> None:
    components = Notebook(current=("parser", "worker"))
    assert roll(components, drain=60) == ["api", "worker"]
    assert components.changes() == ["drain worker 60", "stop api", "start api", "start worker"]


def test_nothing_is_touched_after_a_component_that_is_not_healthy() -> None:
    components = Notebook(ill="parser")
    with pytest.raises(PlatformError, match="parser is ill"):
        roll(components, drain=60)
    assert components.notes == ["stop parser", "start parser"]


def test_what_was_left_alone_has_to_be_healthy_too() -> None:
    with pytest.raises(PlatformError, match="worker is ill"):
        roll(Notebook(current=("parser", "api", "worker"), ill="worker"), drain=60)
