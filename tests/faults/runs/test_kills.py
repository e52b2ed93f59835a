"""Law 7: `kill -9` and immediate shutdowns at random points of a run; law 10: what readers see meanwhile.

Each kill follows from its seed. The table at the end of the tests says what was killed where. To repeat one:
`FAULTS_SEED=<seed> ./deploy.sh test tests/faults/runs/test_kills.py -k one_kill`.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
from collections.abc import Callable

import pytest

from tests.faults.runs.shop import STEPS, Readers, Shop
from tests.support.victims import Order, Victim

#: How often each step is killed, in parts.
WEIGHTS = {"load": 5, "check_raw": 1, "build_warehouse": 5, "build_marts": 5, "publish": 4}
#: What is killed, by what signal, and how often, in parts.
KINDS: dict[str, tuple[Victim, int, int]] = {
    "process": ("process", signal.SIGKILL, 6),
    "backend": ("backend", signal.SIGKILL, 4),
    "postmaster": ("postmaster", signal.SIGKILL, 2),
    "immediate shutdown": ("postmaster", signal.SIGQUIT, 2),
}
FIRST_SEED = int(os.environ.get("FAULTS_SEED", "0"))
SHORT, LONG = 25, 200


@dataclasses.dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        step: In which step.
        kind: What is killed, and how.
        is_timed: After a time, or before a statement.
        point: Where in the step: 0 its beginning, 1 its end.
        is_second_try: Whether the step is tried again, as Airflow does; else the whole run is taken again.
    """

    step: str
    kind: str
    is_timed: bool
    point: float
    is_second_try: bool

    def __str__(self) -> str:
        where = "after" if self.is_timed else "before the statement at"
        again = "a second try of the step" if self.is_second_try else "the run again"
        return f"{self.step}: {self.kind} killed {where} {self.point:.1%} of it, then {again}"


def drawn(seed: int) -> Kill:
    """The kill of a seed."""
    rng = random.Random(seed)
    (step,) = rng.choices(STEPS, [WEIGHTS[step] for step in STEPS])
    (kind,) = rng.choices([*KINDS], [parts for *_, parts in KINDS.values()])
    return Kill(step, kind, rng.random() < 0.5, rng.random(), rng.random() < 0.5)


def order_of(kill: Kill, shop: Shop, point: float) -> Order:
    """The kill as an order to the helper process."""
    victim, number, _ = KINDS[kill.kind]
    step = shop.steps[kill.step]
    order = shop.order(kill.step, postmaster=shop.server.pid(), signal=number)
    if kill.is_timed:
        return dataclasses.replace(order, victim=victim, kill_after=max(point * step.seconds, 0.001))
    return dataclasses.replace(order, victim=victim, kill_before=1 + int(point * step.statements))


def try_one(seed: int, shop: Shop, figure: Callable[..., None]) -> None:
    """Kill, look on, take the step or the run again, compare."""
    kill = drawn(seed)
    print(f"seed {seed}: {kill}")
    points = random.Random(seed)
    point = kill.point
    while True:
        shop.reset(kill.step)
        with Readers(shop, may_lose_server=kill.kind != "process") as readers:
            (fate,) = shop.victims.run(order_of(kill, shop, point))
            shop.wait_for_server()
            if fate.is_killed:
                is_left = STEPS[STEPS.index(kill.step) :]
                shop.take(*(is_left if kill.is_second_try else STEPS), may_retry=kill.is_second_try)
                break
        point = points.random()  # it was over before, or had no session yet
    figure("kills by step and kind", f"{kill.step}: {kill.kind}, {'time' if kill.is_timed else 'statement'}")
    shop.assert_undisturbed()
    assert not readers.wrong, readers.wrong[:3]
    assert readers.looks > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", range(SHORT))
def test_a_run_killed_anywhere_ends_as_an_undisturbed_one(
    shop: Shop, number: int, figure: Callable[..., None]
) -> None:
    try_one(FIRST_SEED + number, shop, figure)


@pytest.mark.long
@pytest.mark.parametrize("number", range(SHORT, LONG))
def test_a_run_killed_anywhere_ends_as_an_undisturbed_one_many_times(
    shop: Shop, number: int, figure: Callable[..., None]
) -> None:
    try_one(FIRST_SEED + number, shop, figure)
