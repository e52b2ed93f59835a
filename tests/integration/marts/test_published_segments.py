"""What people were shown is kept once per change, and only when it was published."""

from __future__ import annotations

import pytest

from ecommerce_dw.fingerprint import SCHEMAS
from ecommerce_dw.publish import publish
from ecommerce_dw.transform import take_snapshots
from tests.integration.marts.test_marts_stay_right import LAYERS, first_days, new_day
from tests.support.dbt_warehouse import DbtWarehouse, Shop

SHOWN_NOW = "select source_system, customer_id, segment from {} order by 1, 2"


@pytest.mark.slow
def test_what_was_shown_is_kept_once_per_change(warehouse: DbtWarehouse, shop: Shop) -> None:
    settings = warehouse.settings
    assert "history" not in SCHEMAS, "it depends on when things were published"
    first_days(shop)
    warehouse.run(select=LAYERS)
    assert not take_snapshots("nothing is shown yet", settings=settings)

    publish(settings)
    assert take_snapshots("first", settings=settings)
    first = warehouse.query("select * from history.published_segments order by published_segment_key")
    shown = warehouse.query(SHOWN_NOW.format("marts.customer_segmentation"))
    assert shown == warehouse.query(SHOWN_NOW.format("history.published_segments"))
    assert not take_snapshots("nothing new", settings=settings)

    new_day(shop)
    warehouse.run(select=LAYERS)
    assert not take_snapshots("built, not published", settings=settings)
    publish(settings)
    assert take_snapshots("second", settings=settings)

    now = SHOWN_NOW.format("history.published_segments").replace(
        "order by", "where shown_to is null order by"
    )
    assert warehouse.query(SHOWN_NOW.format("marts.customer_segmentation")) == warehouse.query(now)
    [(kept, ended)] = warehouse.query("select count(*), count(shown_to) from history.published_segments")
    assert kept == len(first) + ended + 1, "what ended was followed by what is shown now; C5 is new"
