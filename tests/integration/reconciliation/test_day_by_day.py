"""What daily runs measure of the days they touched adds up to what one measurement of everything says."""

from __future__ import annotations

import datetime as dt

import pytest

from ecommerce_dw import pipeline
from ecommerce_dw.quality import CHECKPOINTS, validate
from ecommerce_dw.settings import Settings
from ecommerce_dw.transform import LAYERS
from shop_simulator import Arrivals, Shop, perform
from tests.integration.reconciliation.conftest import Warehouse

OPENING = dt.date(2025, 12, 28)


@pytest.mark.slow
def test_a_shop_whose_files_go_wrong_is_reconciled_day_by_day_as_at_once(settings: Settings) -> None:
    """Late and corrected files, rejects, refusals, orphans: what is not measured again did not change."""
    arrivals = Arrivals(Shop(18, OPENING, 1.0), 0.05)
    landing = settings.landing("ecommerce")
    for number in range(6):
        day = OPENING + dt.timedelta(days=number)
        run_id = f"run_{day}"
        for arrival in arrivals.arrivals(day):
            perform(landing, arrival)
        pipeline.load_step(run_id=run_id, business_date=day, settings=settings)
        for layer in LAYERS:
            pipeline.build_step(layer, run_id=run_id, settings=settings)
            if layer in CHECKPOINTS:
                results = validate(settings, layer, run_id).results
                failed = [r for r in results if r.object == "layer_reconciliation" and not r.is_success]
                assert not failed, failed[0].describe()
        pipeline.publish_step(run_id=run_id, settings=settings)

    warehouse = Warehouse(settings)
    day_by_day = warehouse.table()
    found = warehouse.reconcile(reads_files=False)
    assert [f for f in found if not f.is_explained] == []
    names = {d.name for f in found for d in f.differences}
    assert names >= {"rejected", "superseded_version", "orphan_item_waiting", "incomplete_order"}
    assert day_by_day == warehouse.table()
