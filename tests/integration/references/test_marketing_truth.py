"""The marketing marts against what is true about the simulated shop and stands in none of its files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shop_simulator.shop import Shop
from tests.support.reference import FIRST, LAST, UNITS, BuiltWarehouse

Truth = list[dict[str, Any]]

#: Standard errors that an estimate may be away from the truth: one in sixteen thousand is further.
NOISE = 4.0


@pytest.fixture(scope="module")
def truth() -> Truth:
    """By channel and campaign: what it brought the shop of `built_shops`, and the chances behind."""
    return Shop(42, FIRST, 0.3).marketing.truth((LAST - FIRST).days)


def test_what_was_spent_shown_and_clicked_is_exact(built_shops: BuiltWarehouse, truth: Truth) -> None:
    campaigns = _all_days(built_shops, "campaign_performance").set_index(["channel", "campaign"])
    paid = [source for source in truth if source["campaign"]]
    assert len(paid) == len(campaigns)
    for source in paid:
        row = campaigns.loc[(source["channel"], source["campaign"])]
        assert row["spend_amount"] == source["spend_cents"] * UNITS // 100
        assert (row["impression_count"], row["click_count"]) == (source["impressions"], source["clicks"])


def test_acquisition_and_its_cost_by_channel_are_exact(built_shops: BuiltWarehouse, truth: Truth) -> None:
    """The shop records the channel of who registers, and all who register order at once."""
    performance = _all_days(built_shops, "channel_performance").set_index("channel")
    acquired = built_shops.frame("customer_acquisition", source="ecommerce")
    for channel, sources in _by_channel(truth):
        registered = sum(source["registrations"] for source in sources)
        spent = sum(source["spend_cents"] for source in sources) / 100
        row = performance.loc[channel]
        assert row["new_customer_count"] == registered
        assert row["cost_per_acquisition"] / UNITS == pytest.approx(spent / registered, abs=5e-5)
        months = acquired[acquired["channel"] == channel]
        assert months["new_customer_count"].sum() == registered
        assert months["spend_amount"].sum() == round(spent * UNITS)


def test_cost_of_acquisition_is_that_of_a_click_by_the_chance_that_it_converts(
    built_shops: BuiltWarehouse, truth: Truth
) -> None:
    """CAC estimates the cost of a click by the chance that one brings a customer, but for its noise."""
    performance = _all_days(built_shops, "channel_performance").set_index("channel")
    for channel, sources in _by_channel(truth):
        spent = sum(source["spend_cents"] for source in sources) / 100
        if not spent:
            continue
        expected = sum(source["clicks"] * source["conversion"] for source in sources)
        variance = sum(
            source["clicks"] * source["conversion"] * (1 - source["conversion"]) for source in sources
        )
        noise = NOISE * np.sqrt(variance)
        assert noise < expected
        cost = performance.loc[channel, "cost_per_acquisition"] / UNITS
        assert spent / (expected + noise) <= cost <= spent / (expected - noise), channel


def test_conversion_of_recorded_visits_is_that_of_clicks(built_shops: BuiltWarehouse, truth: Truth) -> None:
    """Visits are a sample: the rate among them estimates registrations per click, by channel and by campaign.

    Direct visits are those of customers who come again, too.
    """
    performance = _all_days(built_shops, "channel_performance").set_index("channel")
    campaigns = _all_days(built_shops, "campaign_performance").set_index(["channel", "campaign"])
    rates = []
    for channel, sources in _by_channel(truth):
        if channel != "direct":
            clicks = sum(source["clicks"] for source in sources)
            registered = sum(source["registrations"] for source in sources)
            rates.append((channel, performance.loc[channel], registered / clicks))
    for source in truth:
        if source["campaign"]:
            key = (source["channel"], source["campaign"])
            rates.append((key, campaigns.loc[key], source["registrations"] / source["clicks"]))
    assert len(rates) > 15
    for name, row, true_rate in rates:
        error = np.sqrt(true_rate * (1 - true_rate) / float(row["session_count"]))
        assert abs(row["conversion_rate"] - true_rate) <= NOISE * error, name


def test_attribution_of_orders_on_record_is_that_of_all_orders(
    built_shops: BuiltWarehouse, truth: Truth
) -> None:
    """By last touch a first order belongs to what brought the customer, any other one is direct.

    Of all orders some have their visit on record, whichever they are: their shares estimate those of all.
    """
    orders = built_shops.frame("fact_orders", source="ecommerce")
    true_count = {
        channel: sum(s["registrations"] for s in sources) for channel, sources in _by_channel(truth)
    }
    true_count["direct"] += len(orders) - sum(true_count.values())
    attribution = built_shops.frame("channel_attribution", source="ecommerce")
    last = attribution[attribution["attribution_model"] == "last_touch"]
    tracked = last.groupby("channel")["tracked_order_count"].sum()
    on_record = int(tracked.sum())
    assert on_record > 200
    assert tracked.get("unknown", 0) == 0
    for channel, count in true_count.items():
        share = count / len(orders)
        # drawn without replacement
        error = np.sqrt(share * (1 - share) / on_record * (1 - on_record / len(orders)))
        assert abs(tracked.get(channel, 0) / on_record - share) <= NOISE * error, channel


def test_first_touch_gives_every_order_to_what_brought_its_customer(
    built_shops: BuiltWarehouse, truth: Truth
) -> None:
    """Guests apart, of whom nothing is known but a visit on record: by that it is direct."""
    attribution = built_shops.frame("channel_attribution", source="ecommerce")
    first = (
        attribution[attribution["attribution_model"] == "first_touch"].groupby("channel")["order_count"].sum()
    )
    orders = built_shops.frame("fact_orders", source="ecommerce")
    customers = built_shops.frame("dim_customers", source="ecommerce")
    channels = customers[customers["is_current"]].set_index("customer_id")["acquisition_channel"]
    assert channels.value_counts().to_dict() == {
        channel: sum(s["registrations"] for s in sources) for channel, sources in _by_channel(truth)
    }
    known = orders["customer_id"].map(channels).value_counts()
    sessions = built_shops.frame("fact_sessions", source="ecommerce")
    guests = orders[orders["customer_id"].isna()]
    known["direct"] += guests["order_id"].isin(sessions["order_id"]).sum()
    known["unknown"] = len(orders) - known.sum()
    assert first.to_dict() == known.to_dict()


def _all_days(warehouse: BuiltWarehouse, table: str) -> pd.DataFrame:
    frame = warehouse.frame(table, source="ecommerce")
    return frame[frame["period_type"] == "all"]


def _by_channel(truth: Truth) -> Iterable[tuple[str, Truth]]:
    for channel in dict.fromkeys(source["channel"] for source in truth):
        yield channel, [source for source in truth if source["channel"] == channel]
