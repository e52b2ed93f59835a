"""The ten laws on generated lives of both shops: the real loader, dbt and publication on a real PostgreSQL.

A life is a sequence of deliveries, decisions, loads, builds and publications, some of them killed
(tests/support/deliveries.py). docs/laws.md says how each law is tested and how a failure is repeated.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.settings import PROJECT_DIR
from tests.support.deliveries import Life as LifeOfFiles
from tests.support.deliveries import lives
from tests.support.shop_life import STRANGE_SESSION, LawsDatabase, ShopLife, differences, session_settings
from tests.support.shop_truth import Truth

CONTRACTS = read_contracts(PROJECT_DIR / "airflow" / "include" / "contracts")
#: How many lives `--long` leads.
LONG_EXAMPLES = int(os.environ.get("LAWS_EXAMPLES", "100"))

BASIC = settings(deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck))
#: The same lives each time; a failure is shown as it was found, at once.
REPEATABLE = settings(BASIC, derandomize=True, phases=[Phase.explicit, Phase.generate])
#: Other lives each time; a failure is made small before it is shown.
RANDOM = settings(BASIC, max_examples=LONG_EXAMPLES)


class NewLives:
    """Passes over lives that hypothesis makes by changing little of one before: they cost as much as others.

    Once one has failed nothing is passed over, so that it can be repeated and made small.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._has_failed = False

    def __call__(self, life: LifeOfFiles, database: LawsDatabase) -> None:
        """Hold the laws against a life, unless it is nearly one that was."""
        assume(self._has_failed or life.shuffle not in self._seen)
        self._seen.add(life.shuffle)
        try:
            laws_hold(life, database)
        except BaseException:
            self._has_failed = True
            raise


def laws_hold(life: LifeOfFiles, database: LawsDatabase) -> None:
    """Lead a life to its end, hold the laws against it, and against another order of the same files."""
    first = ShopLife(database)
    for step in life.steps:
        first.happen(step)  # law 10 is looked at while it publishes
    first.run()
    state = first.state()

    truth = Truth(first)
    assert not (found := truth.losses()), f"law 1: {found}"
    assert not (found := truth.money_differences()), f"law 8: {found}"
    assert not (found := first.unexplained()), f"laws 1 and 8, reconciled: {found}"
    assert not (found := truth.wrong_versions()), f"law 9: {found}"

    touched = first.touched()
    changed = first.run()
    assert changed == 0, f"law 2: the same run published {changed} changed rows"
    assert first.touched() == touched, "law 2: the same run wrote rows"
    assert not (moved := differences(state, first.state())), f"law 2: before, and after the same run: {moved}"

    with session_settings(STRANGE_SESSION):
        first.rebuild()
    if moved := differences(state, first.state()):
        first.rebuild()
        if again := differences(state, first.state()):
            pytest.fail(f"law 4 or 5: incremental, and built again from raw: {again}")
        pytest.fail(f"law 6: in a plain session, and with other session settings: {moved}")

    second = ShopLife(database)
    with session_settings(STRANGE_SESSION):
        for event in life.other_order():
            second.happen_to_file(event)
    second.run()
    if moved := differences(state, second.state()):
        # built again from its own raw tables the first life said the same, so these differ
        pytest.fail(f"law 3 or 7: the life, and a plain run over another order of the same files: {moved}")


@pytest.fixture(scope="module")
def new_lives() -> NewLives:
    """What remembers the lives that were led."""
    return NewLives()


@settings(REPEATABLE, max_examples=1)
@given(lives(CONTRACTS, least=6, most=10).filter(lambda life: len(life.kills) == 1))
def test_the_laws_hold_on_a_short_life(
    database: LawsDatabase, new_lives: NewLives, life: LifeOfFiles
) -> None:
    new_lives(life, database)


@pytest.mark.slow
@settings(REPEATABLE, max_examples=10)
@given(lives(CONTRACTS).filter(lambda life: bool(life.kills)))
def test_the_laws_hold_on_ten_lives(database: LawsDatabase, new_lives: NewLives, life: LifeOfFiles) -> None:
    new_lives(life, database)


@pytest.mark.long
@RANDOM
@given(lives(CONTRACTS))
def test_the_laws_hold_on_many_lives(database: LawsDatabase, new_lives: NewLives, life: LifeOfFiles) -> None:
    new_lives(life, database)
