"""The sales marts, worked out again in pandas."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.support.reference import BuiltWarehouse, assert_same


@pytest.mark.parametrize("source", ["ecommerce", "online_retail", "sales"])
def test_the_days_of_the_sales_summary(built_shops: BuiltWarehouse, source: str) -> None:
    items = built_shops.frame("fact_order_items", source=source)
    returns = built_shops.frame("fact_returns", source=source)
    returns = returns[returns["is_counted"]]
    measures = {
        "gross_amount": items.groupby("order_date")["gross_amount"].sum(),
        "discount_amount": items.groupby("order_date")["discount_amount"].sum(),
        "cancelled_amount": items.groupby("cancelled_date")["cancelled_amount"].sum(),
        "refund_amount": returns.groupby("returned_date")["refund_amount"].sum(),
    }
    expected = pd.DataFrame(measures).astype("Int64").fillna(0)
    expected["net_amount"] = (
        expected["gross_amount"]
        - expected["discount_amount"]
        - expected["cancelled_amount"]
        - expected["refund_amount"]
    )
    expected = expected.rename_axis("period_start").reset_index()
    summary = built_shops.frame("sales_summary", source=source)
    days = summary[summary["period_type"] == "day"]

    assert_same(days[days["period_start"].isin(expected["period_start"])], expected, ["period_start"])
    for measure in ("gross_amount", "net_amount"):
        assert days[measure].sum() == expected[measure].sum()
