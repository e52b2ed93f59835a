"""The second try of a build: `dbt retry` only after a try that came to its end, in the same window."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ecommerce_dw import db, transform
from ecommerce_dw.runs import freeze, open_run
from ecommerce_dw.settings import Settings
from ecommerce_dw.transform import BuildError, NodeResult, build


class Dbt:
    """In place of dbt: writes the results it is told to, and keeps the commands it was given."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.is_interrupted = False

    def __call__(
        self, command: Sequence[str], target: Path, settings: Settings, run_id: str
    ) -> tuple[str, tuple[NodeResult, ...]]:
        self.commands.append(command[0])
        # One model failed; of those that dbt had not come to when it was interrupted, nothing is said.
        results = [{"unique_id": "model.ecommerce_dw.fact_orders", "status": "error"}]
        if not self.is_interrupted:
            results.append({"unique_id": "model.ecommerce_dw.fact_order_items", "status": "skipped"})
        (target / "run_results.json").write_text(json.dumps({"results": results}))
        if self.is_interrupted:
            raise BuildError("dbt build could not run: KeyboardInterrupt")
        return "id", tuple(
            NodeResult(result["unique_id"], "model", result["status"], 0.0, None, None, "it broke")
            for result in results
        )


@pytest.fixture
def dbt(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Dbt:
    """dbt, and a run whose window is frozen."""
    _freeze(settings)
    dbt = Dbt()
    monkeypatch.setattr(transform, "_invoke", dbt)
    return dbt


def _freeze(settings: Settings) -> None:
    with contextlib.closing(db.connect("owner", settings=settings)) as connection:
        open_run(connection, "run-1", business_date=None)
        freeze(connection, "run-1")


def _try(settings: Settings, *, may_retry: bool) -> None:
    with pytest.raises(BuildError):
        build("warehouse", "run-1", settings=settings, may_retry=may_retry)


def test_a_failed_try_is_taken_up_where_it_failed(settings: Settings, dbt: Dbt) -> None:
    _try(settings, may_retry=False)
    _try(settings, may_retry=True)
    _try(settings, may_retry=True)
    assert dbt.commands == ["build", "retry", "retry"]


def test_after_an_interruption_the_layer_is_built_whole(settings: Settings, dbt: Dbt) -> None:
    dbt.is_interrupted = True
    _try(settings, may_retry=False)
    _try(settings, may_retry=True)
    dbt.is_interrupted = False
    _try(settings, may_retry=True)
    dbt.is_interrupted = True
    _try(settings, may_retry=True)
    _try(settings, may_retry=True)
    assert dbt.commands == ["build", "build", "build", "retry", "build"]


def test_in_another_window_the_layer_is_built_whole(
    settings: Settings, owner: db.Connection, dbt: Dbt
) -> None:
    _try(settings, may_retry=False)
    with owner.cursor() as cursor:
        cursor.execute("update ops.runs set load_id_to = 7 where run_id = 'run-1'")
    _try(settings, may_retry=True)
    assert dbt.commands == ["build", "build"]
