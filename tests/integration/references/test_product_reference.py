"""The product marts, worked out again in pandas."""

from __future__ import annotations

import csv
import functools
import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecommerce_dw.settings import PROJECT_DIR
from tests.support.reference import BuiltWarehouse, assert_same

DAY = pd.Timedelta(days=1)
MEASURES = {"gross_amount": 1, "discount_amount": -1, "cancelled_amount": -1, "refund_amount": -1}


@functools.cache
def seed(name: str) -> list[dict[str, str]]:
    """The rows of a seed, as text."""
    with (PROJECT_DIR / "dbt" / "seeds" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def events(shop: BuiltWarehouse, source: str) -> pd.DataFrame:
    """What counts for a product, on the day it counts: sales, cancellations, returns."""
    items = shop.frame("fact_order_items", source=source)
    items = items[items["product_id"].notna()]
    sold = items[items["line_type"] == "sale"]
    cancelled = items[items["cancelled_date"].notna()]
    returns = shop.frame("fact_returns", source=source)
    returns = returns[returns["is_counted"]]
    parts = [
        pd.DataFrame(
            {
                "product_id": sold["product_id"],
                "day": sold["order_date"],
                "order_id": sold["order_id"],
                "unit_count": sold["quantity"],
                "gross_amount": sold["gross_amount"],
                "discount_amount": sold["discount_amount"],
                "cost_amount": sold["cost_amount"],
                "has_cost": sold["cost_amount"].notna(),
            }
        ),
        pd.DataFrame(
            {
                "product_id": cancelled["product_id"],
                "day": cancelled["cancelled_date"],
                "cancelled_unit_count": cancelled["cancelled_quantity"],
                "cancelled_amount": cancelled["cancelled_amount"],
                "cost_amount": -cancelled["cancelled_cost_amount"],
                "has_cost": cancelled["cancelled_cost_amount"].notna(),
            }
        ),
        pd.DataFrame(
            {
                "product_id": returns["product_id"],
                "day": returns["returned_date"],
                "returned_unit_count": returns["returned_quantity"],
                "refund_amount": returns["refund_amount"],
                "cost_amount": -returns["returned_cost_amount"],
                "has_cost": returns["returned_cost_amount"].notna(),
            }
        ),
    ]
    found = pd.concat([part for part in parts if len(part)], ignore_index=True)
    counts = ["unit_count", "cancelled_unit_count", "returned_unit_count"]
    for column in (*counts, *MEASURES, "cost_amount"):
        found[column] = (
            (found[column] if column in found else pd.Series(0, found.index)).astype("Int64").fillna(0)
        )
    found["net_amount"] = sum(found[measure] * sign for measure, sign in MEASURES.items())
    return found


def share(part: Any, whole: Any) -> float:
    """A quotient; not a number over nothing."""
    return float(part) / float(whole) if not pd.isna(whole) and whole else math.nan


@pytest.mark.parametrize("source", ["ecommerce", "online_retail"])
def test_the_product_performance(built_shops: BuiltWarehouse, source: str) -> None:
    found = events(built_shops, source)
    as_of = built_shops.as_of(source)
    products = built_shops.frame("dim_products", source=source)
    products = products[products["is_current"]].set_index("product_id")
    sums = found.groupby("product_id")[
        ["unit_count", "cancelled_unit_count", "returned_unit_count", *MEASURES, "net_amount", "cost_amount"]
    ].sum()
    expected = sums.reindex(products.index).fillna(0)
    expected["has_cost"] = found.groupby("product_id")["has_cost"].all().reindex(products.index).fillna(True)
    placed = found[found["unit_count"] > 0].groupby("product_id")
    expected["order_count"] = placed["order_id"].nunique().reindex(products.index).fillna(0)
    expected["first_sold_date"] = placed["day"].min().reindex(products.index)
    expected["last_sold_date"] = placed["day"].max().reindex(products.index)
    for name, first, last in (("recent", 30, 0), ("previous", 60, 30)):
        days = found[(found["day"] > as_of - first * DAY) & (found["day"] <= as_of - last * DAY)]
        net = days.groupby("product_id")["net_amount"].sum()
        expected[f"{name}_net_amount"] = net.reindex(products.index).fillna(0)
    expected["is_active"] = products["is_active"]
    expected["current_price"] = products["price"]

    positive = expected["net_amount"].clip(lower=0)
    shop_net = positive.sum()
    rows = []
    for product, row in expected.iterrows():
        net = row["net_amount"]
        before = positive[positive > max(net, 0)].sum()
        up_to = positive[positive >= max(net, 0)].sum()
        cost = row["cost_amount"] if row["has_cost"] else pd.NA
        margin = net - cost
        kept = row["unit_count"] - row["cancelled_unit_count"]
        measured = {
            "product_id": product,
            "cost_amount": cost,
            "margin_amount": margin,
            "margin_rate": share(margin, net) if row["has_cost"] else math.nan,
            "return_rate": share(row["returned_unit_count"], kept),
            "net_share": share(max(net, 0), shop_net),
            "cumulative_net_share": share(up_to, shop_net),
            "abc_class": _abc(net, share(before, shop_net)),
            "trend": _trend(row, as_of),
            "net_change_ratio": _change(row["recent_net_amount"], row["previous_net_amount"]),
        }  # fmt: skip
        measured["health_score"] = _health(row, measured, len(expected))
        measured["recommendation"] = _recommendation(row, measured, kept)
        rows.append(measured)
    expected = expected.drop(columns=["cost_amount", "has_cost"]).reset_index()
    expected = expected.merge(pd.DataFrame(rows), on="product_id")
    for column in ("cost_amount", "margin_amount"):
        expected[column] = expected[column].astype("Int64")
    mart = built_shops.frame("product_performance", source=source)

    scores = expected.pop("health_score")
    assert_same(mart, expected, ["product_id"])
    # rounded to 6 places
    expected["health_score"] = scores
    assert_same(mart, expected, ["product_id"], ["health_score"], tolerance=0.6e-6)


def _change(recent: int, previous: int) -> float:
    return share(recent - previous, previous) if previous > 0 else math.nan


def _abc(net: int, share_before: float) -> str:
    if net <= 0:
        return "C"
    fits = [row["abc_class"] for row in seed("abc_classes") if share_before >= float(row["min_share_before"])]
    return fits[-1]


def _trend(row: pd.Series, as_of: pd.Timestamp) -> str:
    recent, previous = row["recent_net_amount"], row["previous_net_amount"]
    if recent == previous == 0:
        return "inactive"
    if row["first_sold_date"] > as_of - 30 * DAY:
        return "new"
    if 10 * (recent - previous) > abs(previous):
        return "rising"
    return "falling" if 10 * (recent - previous) < -abs(previous) else "stable"


def _health(row: pd.Series, measured: dict[str, Any], products: int) -> float:
    change = measured["net_change_ratio"]
    if math.isnan(change):
        change = float(np.sign(row["recent_net_amount"] - row["previous_net_amount"]))
    trend = {"new": math.nan, "inactive": -1.0}.get(measured["trend"], change)
    measures = {
        "sales": measured["net_share"] * products,
        "margin": measured["margin_rate"] if row["net_amount"] > 0 else math.nan,
        "trend": trend,
        "returns": measured["return_rate"],
    }
    points = weights = 0.0
    for part in seed("product_health_parts"):
        measure, weight = measures[part["part"]], float(part["weight"])
        if not math.isnan(measure):
            zero, full = float(part["zero_at"]), float(part["full_at"])
            points += weight * min(max((measure - zero) / (full - zero), 0), 1)
            weights += weight
    return 100 * points / weights if weights else math.nan


def _recommendation(row: pd.Series, measured: dict[str, Any], kept: int) -> str:
    for rule in seed("product_recommendations"):
        conditions = (
            (rule["abc_classes"], lambda text: measured["abc_class"] in text.split("|")),
            (rule["trends"], lambda text: measured["trend"] in text.split("|")),
            (rule["min_return_rate"], lambda text: measured["return_rate"] >= float(text)),
            (rule["min_kept_unit_count"], lambda text: kept >= int(text)),
            (rule["max_margin_rate"], lambda text: measured["margin_rate"] < float(text)),
            (rule["max_health_score"], lambda text: measured["health_score"] < float(text)),
            (rule["is_active"], lambda text: str(row["is_active"]).lower() == text),
        )  # fmt: skip
        if all(holds(text) for text, holds in conditions if text):
            return rule["recommendation"]
    raise AssertionError("no recommendation fits")


@pytest.mark.parametrize("source", ["ecommerce", "online_retail"])
def test_the_product_affinity(built_shops: BuiltWarehouse, source: str) -> None:
    [bounds] = seed("product_affinity_bounds")
    items = built_shops.frame("fact_order_items", source=source)
    items = items[(items["line_type"] == "sale") & items["product_id"].notna()]
    baskets = [set(products) for _, products in items.groupby("order_id")["product_id"]]
    large = [basket for basket in baskets if len(basket) > int(bounds["max_basket_product_count"])]
    baskets = [basket for basket in baskets if len(basket) <= int(bounds["max_basket_product_count"])]
    singles = Counter(product for basket in baskets for product in basket)
    pairs = Counter(pair for basket in baskets for pair in itertools.permutations(basket, 2))
    rows = []
    for (product, partner), count in pairs.items():
        if count < int(bounds["min_pair_order_count"]):
            continue
        chance = singles[product] * singles[partner] / len(baskets)
        rows.append(
            {
                "product_id": product,
                "partner_id": partner,
                "pair_order_count": count,
                "product_order_count": singles[product],
                "partner_order_count": singles[partner],
                "shop_order_count": len(baskets),
                "large_order_count": len(large),
                "expected_order_count": chance,
                "support": count / len(baskets),
                "confidence": count / singles[product],
                "lift": count / chance,
                "z_score": (count - chance) / math.sqrt(chance),
            }
        )
    expected = pd.DataFrame(rows)
    score = expected["z_score"].round(9)
    expected["partner_rank"] = (
        score.groupby(expected["product_id"]).rank("min", ascending=False).astype("Int64")
    )
    rank_at_partner = score.groupby(expected["partner_id"]).rank("min", ascending=False)
    most = int(bounds["max_partner_count"])
    expected = expected[(expected["partner_rank"] <= most) | (rank_at_partner <= most)]
    expected["is_strong"] = (
        (expected["lift"] >= float(bounds["min_strong_lift"]))
        & (expected["z_score"] >= float(bounds["min_strong_z_score"]))
    ).astype("boolean")  # fmt: skip
    mart = built_shops.frame("product_affinity", source=source)

    assert_same(mart, expected, ["product_id", "partner_id"])


def test_the_return_analysis(built_shops: BuiltWarehouse) -> None:
    returns = built_shops.frame("fact_returns", source="ecommerce")
    items = built_shops.frame("fact_order_items", source="ecommerce")
    kept = items[items["line_type"] == "sale"].groupby("product_id")["quantity"].sum()
    kept -= items.groupby("product_id")["cancelled_quantity"].sum().reindex(kept.index).fillna(0)
    products = built_shops.frame("dim_products", source="ecommerce")
    category = products[products["is_current"]].set_index("product_id")["category"]
    units = returns.groupby("product_id")["returned_quantity"].sum()
    rows = []
    for (product, reason), group in returns.groupby(["product_id", "return_reason"]):
        counted = group[group["is_counted"]]
        known = counted["days_to_return"].dropna()
        cost = counted["returned_cost_amount"].sum(skipna=False) if len(counted) else 0
        refund = counted["refund_amount"].sum()
        rows.append(
            {
                "product_id": product,
                "return_reason": reason,
                "category": category[product],
                "first_returned_date": counted["returned_date"].min(),
                "last_returned_date": counted["returned_date"].max(),
                "return_count": len(counted),
                "uncounted_return_count": len(group) - len(counted),
                "returned_unit_count": counted["quantity"].sum(),
                "kept_unit_count": kept[product],
                "return_rate": share(counted["quantity"].sum(), kept[product]),
                "reason_share": share(counted["quantity"].sum(), units[product]),
                "refund_amount": refund,
                "returned_cost_amount": cost,
                "lost_margin_amount": refund - cost,
                "days_since_order_total": counted["days_since_order"].sum(),
                "known_delivery_count": len(known),
                "days_to_return_total": known.sum(),
                "average_days_since_order": _average(counted["days_since_order"]),
                "average_days_to_return": _average(known),
            }
        )
    expected = pd.DataFrame(rows)
    for column in (
        "average_days_since_order",
        "average_days_to_return",
        "returned_cost_amount",
        "lost_margin_amount",
    ):
        expected[column] = expected[column].astype("Int64")
    mart = built_shops.frame("return_analysis", source="ecommerce")

    assert_same(mart, expected, ["product_id", "return_reason"])
    for column in ("refund_amount", "returned_unit_count"):
        assert (
            mart[column].sum()
            == returns[returns["is_counted"]][column.replace("_unit_count", "_quantity")].sum()
        )


def _average(values: pd.Series) -> Any:
    """An average in whole ten-thousandths, halves away from zero; missing over nothing."""
    return _rounded(int(values.sum()) * 10_000, len(values))


def _rounded(part: int, whole: int) -> Any:
    if not whole:
        return pd.NA
    return (2 * part + whole) // (2 * whole) if part >= 0 else -((-2 * part + whole) // (2 * whole))


def test_the_inventory_turnover(built_shops: BuiltWarehouse) -> None:
    [planning] = ({name: int(value) for name, value in row.items()} for row in seed("stock_planning"))
    as_of = built_shops.as_of("ecommerce")
    stocks = built_shops.frame("fact_inventory_daily", source="ecommerce").sort_values("snapshot_date")
    stocks["is_sellable"] = (stocks["on_hand_quantity"] > 0) | (stocks["sold_quantity"] > 0)
    products = built_shops.frame("dim_products", source="ecommerce")
    active = products[products["is_current"]].set_index("product_id")["is_active"]
    first_month = (as_of - pd.DateOffset(months=11)).replace(day=1)
    rows = []
    for product, days in stocks.groupby("product_id"):
        last = days.iloc[-1]
        year = days[days["snapshot_date"] >= first_month]
        recent = days[days["snapshot_date"] > as_of - planning["demand_days"] * DAY]
        stock_cost = int(year["stock_cost_amount"].sum())
        sold_cost = int((year["sold_quantity"] * year["unit_cost"]).sum())
        demand = recent if recent["is_sellable"].any() else year
        sold, demand_days = int(demand["sold_quantity"].sum()), int(demand["is_sellable"].sum())
        on_hand = int(last["on_hand_quantity"])
        supply = on_hand * demand_days / sold if sold else math.inf
        urgent = planning["lead_time_days"] + planning["safety_days"]
        if not pd.isna(active[product]) and not active[product]:
            advice = "off_sale"
        elif not sold:
            advice = "no_demand"
        elif supply <= urgent:
            advice = "reorder_now"
        elif supply <= urgent + planning["soon_days"]:
            advice = "reorder_soon"
        else:
            advice = "overstocked" if supply > planning["overstock_days"] else "enough"
        wanted = -(-(urgent + planning["cover_days"]) * sold // demand_days) if demand_days else 0
        rows.append(
            {
                "product_id": product,
                "snapshot_date": last["snapshot_date"],
                "as_of_date": as_of,
                "on_hand_quantity": on_hand,
                "stock_cost_amount": last["stock_cost_amount"],
                "stock_day_count": len(year),
                "stocked_out_day_count": int((year["on_hand_quantity"] == 0).sum()),
                "stocked_out_rate": share((year["on_hand_quantity"] == 0).sum(), len(year)),
                "sold_unit_count": int(year["sold_quantity"].sum()),
                "received_unit_count": int(year["received_quantity"].sum()),
                "sold_cost_amount": sold_cost,
                "average_on_hand_quantity": _rounded(int(year["on_hand_quantity"].sum()) * 10_000, len(year)),
                "average_stock_cost_amount": _rounded(stock_cost, len(year)),
                "annual_turnover": share(sold_cost * 365, stock_cost),
                "recent_sold_unit_count": int(recent["sold_quantity"].sum()),
                "recent_sellable_day_count": int(recent["is_sellable"].sum()),
                "recent_stocked_out_day_count": int((recent["on_hand_quantity"] == 0).sum()),
                "daily_demand": share(sold, demand_days),
                "days_of_supply": _rounded(on_hand * demand_days * 10_000, sold),
                "reorder_advice": advice,
                "reorder_quantity": max(wanted - on_hand, 0) if advice.startswith("reorder") else 0,
            }
        )
    expected = pd.DataFrame(rows)
    for column in ("days_of_supply", "average_on_hand_quantity", "average_stock_cost_amount"):
        expected[column] = expected[column].astype("Int64")

    assert_same(built_shops.frame("inventory_turnover", source="ecommerce"), expected, ["product_id"])
    assert expected["reorder_advice"].nunique() >= 5


def test_the_price_history_effects(built_shops: BuiltWarehouse) -> None:
    [bounds] = ({name: int(value) for name, value in row.items()} for row in seed("price_effect_bounds"))
    as_of = built_shops.as_of("ecommerce")
    found = events(built_shops, "ecommerce")
    found["revenue"] = found["gross_amount"] - found["discount_amount"]
    by_day = found.groupby(["product_id", "day"])[["unit_count", "revenue"]].sum()
    shop = found.groupby("day")["unit_count"].sum()
    opening = found[found["unit_count"] > 0]["day"].min()
    products = built_shops.frame("dim_products", source="ecommerce")
    rows = []
    for product, versions in products[products["price"].notna()].groupby("product_id"):
        # prices change at midnight UTC in the simulated shop, which is its own time
        changes = []
        state: tuple[Any, Any] = (None, None)
        for version in versions.sort_values("valid_from").itertuples():
            at = pd.Timestamp(version.valid_from).tz_localize(None)
            if (version.price, version.is_active) != state:
                changes.append((at, version.price, version.created_date))
                state = (version.price, version.is_active)
        for number in range(1, len(changes)):
            (before_at, old, _), (at, new, created) = changes[number - 1 : number + 1]
            if old == new or at > as_of:
                continue
            assert at == at.normalize()
            following = [changes[number + 1][0] - DAY] if number + 1 < len(changes) else []
            start = max(at - bounds["max_window_days"] * DAY, max(before_at, opening), created)
            planned = min([at + (bounds["max_window_days"] - 1) * DAY, *following])
            days = by_day.loc[product] if product in by_day.index else by_day.iloc[:0].droplevel(0)
            before, after = (
                _window(days, shop, start, at - DAY),
                _window(days, shop, at, min(planned, as_of)),
            )
            rows.append(
                {
                    "product_id": product,
                    "effective_date": at,
                    "old_price": old,
                    "new_price": new,
                    "price_change_rate": share(new - old, old),
                    "is_complete": planned <= as_of,
                    **{f"{name}_before": value for name, value in before.items()},
                    **{f"{name}_after": value for name, value in after.items()},
                    **_elasticities(old, new, before, after, bounds),
                }
            )
    expected = pd.DataFrame(rows)
    for column in ("revenue_per_day_before", "revenue_per_day_after"):
        expected[column] = expected[column].astype("Int64")
    expected["is_complete"] = expected["is_complete"].astype("boolean")
    mart = built_shops.frame("price_history_effects", source="ecommerce")

    assert_same(mart, expected, ["product_id", "effective_date"])
    assert mart["elasticity"].notna().sum() > 50


def _window(days: pd.DataFrame, shop: pd.Series, first: pd.Timestamp, last: pd.Timestamp) -> dict[str, Any]:
    length = max((last - first).days + 1, 0)
    inside = days[(days.index >= first) & (days.index <= last)]
    units, revenue = int(inside["unit_count"].sum()), int(inside["revenue"].sum())
    return {
        "day_count": length,
        "unit_count": units,
        "revenue_amount": revenue,
        "shop_unit_count": int(shop[(shop.index >= first) & (shop.index <= last)].sum()),
        "units_per_day": share(units, length),
        "revenue_per_day": _rounded(revenue, length),
    }


def _elasticities(
    old: int, new: int, before: dict[str, Any], after: dict[str, Any], bounds: dict[str, int]
) -> dict[str, float]:
    names = ("elasticity", "adjusted_elasticity", "elasticity_error")
    if (
        min(before["day_count"], after["day_count"]) < bounds["min_window_days"]
        or min(before["unit_count"], after["unit_count"]) < bounds["min_unit_count"]
    ):
        return dict.fromkeys(names, math.nan)
    price = math.log(new / old)
    units = after["unit_count"] / before["unit_count"]
    return {
        "elasticity": math.log(units * before["day_count"] / after["day_count"]) / price,
        "adjusted_elasticity": math.log(units * before["shop_unit_count"] / after["shop_unit_count"]) / price,
        "elasticity_error": math.sqrt(1 / before["unit_count"] + 1 / after["unit_count"]) / abs(price),
    }


def test_what_no_shop_delivered_is_empty(built_shops: BuiltWarehouse) -> None:
    for table, sources in {
        "product_affinity": {"ecommerce", "online_retail"},
        "return_analysis": {"ecommerce"},
        "inventory_turnover": {"ecommerce"},
        "price_history_effects": {"ecommerce"},
    }.items():
        assert set(built_shops.frame(table)["source_system"]) == sources
