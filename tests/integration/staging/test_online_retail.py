"""A real shop's invoice lines become customers, products, orders and items, and the money is all there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from ecommerce_dw.loading import load
from tests.integration.staging.conftest import SMALL, Staging

LINE_TYPES = "select line_type, count(*), sum(line_total) from staging.stg_order_items group by 1"


def test_six_real_days_reconcile_by_named_parts(make_staging: Callable[..., Staging]) -> None:
    staging = make_staging({"online_retail": SMALL})
    staging.dbt("build", "--select", "tag:layer_staging", "--indirect-selection", "cautious")

    assert {row[0]: row[1:] for row in staging.query(LINE_TYPES)} == {
        "sale": (6776, Decimal("135216.31")),
        "cancellation": (134, Decimal("-1352.08")),
        "fee": (36, Decimal("-7279.76")),
        "adjustment": (25, Decimal("-10825.169")),
        "zero_priced": (82, Decimal(0)),
    }
    assert staging.query(
        "select order_type, count(*), sum(total_amount), count(*) filter (where customer_id is null) > 0 "
        "from staging.stg_orders group by 1 order by 1"
    ) == [
        ("adjustment", 3, Decimal("-11062.06"), True),
        ("cancellation", 76, Decimal("-13273.20"), True),
        ("sale", 344, Decimal("140094.561"), True),
    ]
    assert staging.query(
        "select count(*), count(distinct order_item_id), count(*) filter (where is_duplicate) "
        "from staging.stg_order_items"
    ) == [(7053, 7053, 30)]
    assert staging.query("select count(distinct customer_id) from staging.stg_customers") == [(258,)]
    assert staging.query("select count(distinct product_id) from staging.stg_products") == [(2051,)]
    assert staging.query(
        "select count(*) from staging.stg_orders where order_date <> _business_date or currency <> 'GBP'"
    ) == [(0,)]


def test_a_corrected_file_moves_no_other_line(make_staging: Callable[..., Staging], tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    landing.mkdir()
    shutil.copy(SMALL / "2011-06-28.csv", landing)
    staging = make_staging({"online_retail": landing})
    staging.dbt("seed", "--select", "online_retail_codes")
    staging.dbt("run", "--select", "tag:layer_staging")
    keys = "select order_item_id from staging.stg_order_items"
    before = {key for (key,) in staging.query(keys)}

    # The first line is gone and the others stand in another order.
    header, _, *others = (landing / "2011-06-28.csv").read_text().splitlines(keepends=True)
    (landing / "2011-06-28.csv").write_text("".join([header, *reversed(others)]))
    load(staging.settings)

    after = {key for (key,) in staging.query(keys)}
    assert after < before
    assert len(before) - len(after) == 1
