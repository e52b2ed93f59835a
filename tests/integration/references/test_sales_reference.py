"""The sales marts, worked out again in pandas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecommerce_dw.settings import PROJECT_DIR
from shop_simulator import generate
from tests.support.reference import FIRST, LAST, UNITS, BuiltWarehouse, assert_same

SHOPS = ["ecommerce", "online_retail", "sales"]
MONEY = ["gross_amount", "discount_amount", "cancelled_amount", "refund_amount", "net_amount"]
#: That of the simulated shop of the fixture.
SCALE = 0.3
DAY = pd.Timedelta(days=1)


# ---- what happened, from the facts -------------------------------------------------------------------------


def events(shops: BuiltWarehouse, source: str) -> pd.DataFrame:
    """Everything that counts on a day, with the customer and the version of the customer it concerns."""
    items = shops.frame("fact_order_items", source=source)
    returns = shops.frame("fact_returns", source=source)
    returns = returns[returns["is_counted"]]
    orders = shops.frame("fact_orders", source=source)
    orders = orders[orders["order_type"] == "sale"]
    who = ["customer_id", "customer_key"]
    parts = [
        items[[*who, "order_date", "gross_amount", "discount_amount"]].rename(columns={"order_date": "day"}),
        items.dropna(subset=["cancelled_date"])[[*who, "cancelled_date", "cancelled_amount"]].rename(
            columns={"cancelled_date": "day"}
        ),
        returns[[*who, "returned_date", "refund_amount"]].rename(columns={"returned_date": "day"}),
        orders[[*who, "order_date"]].rename(columns={"order_date": "day"}).assign(order_count=1),
    ]
    united = pd.concat(parts, ignore_index=True)
    for column in (*MONEY[:-1], "order_count"):
        united[column] = united[column].astype("Int64").fillna(0)
    united["net_amount"] = (
        united["gross_amount"]
        - united["discount_amount"]
        - united["cancelled_amount"]
        - united["refund_amount"]
    )
    return united


def by_day(shops: BuiltWarehouse, source: str) -> pd.DataFrame:
    """Money (whole ten-thousandths) and orders of each day with any activity, indexed by day."""
    orders = shops.frame("fact_orders", source=source)
    active = pd.concat([orders["order_date"], orders["cancelled_date"].dropna()])
    sums = events(shops, source).groupby("day")[[*MONEY, "order_count"]].sum()
    return sums.reindex(sums.index.union(pd.DatetimeIndex(active.unique()))).fillna(0).sort_index()


def first_of_month(days: pd.Series) -> pd.Series:
    return days.dt.to_period("M").dt.start_time


def ratio(over: pd.Series, under: pd.Series) -> pd.Series:
    """A ratio as float; missing over nothing."""
    under = under.astype("float64")
    return over.astype("float64") / under.where(under != 0)


def growth(now: pd.Series, before: pd.Series, *, where: pd.Series) -> pd.Series:
    before = before.astype("float64")
    return (now.astype("float64") / before.where(before > 0) - 1).where(where.astype(bool))


def rounded_money(amounts: pd.Series) -> pd.Series:
    """Ten-thousandths as float to whole ones, halves away from zero as the database rounds."""
    amounts = amounts.astype("float64")
    whole = np.sign(amounts) * np.floor(amounts.abs() + 0.5)
    return whole.round().astype("Int64")


def months_known(days: pd.DataFrame, as_of: pd.Timestamp) -> pd.DatetimeIndex:
    first = days.index.min().to_period("M")
    return pd.period_range(first, max(as_of, days.index.max()).to_period("M")).to_timestamp()


# ---- sales_summary -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SHOPS)
def test_the_days_of_the_sales_summary(built_shops: BuiltWarehouse, source: str) -> None:
    expected = by_day(built_shops, source)[MONEY].rename_axis("period_start").reset_index()
    summary = built_shops.frame("sales_summary", source=source)
    days = summary[summary["period_type"] == "day"]

    assert_same(days, expected, ["period_start"])


@pytest.mark.parametrize("source", SHOPS)
@pytest.mark.parametrize("period_type", ["day", "week", "month", "quarter"])
def test_what_ran_up_and_a_year_ago(built_shops: BuiltWarehouse, source: str, period_type: str) -> None:
    days = by_day(built_shops, source)
    as_of = built_shops.as_of(source)
    frequency = {"day": "D", "week": "W-SUN", "month": "M", "quarter": "Q"}[period_type]
    periods = days.index.to_period(frequency)
    expected = []
    for period in periods.unique():
        inside = days[periods == period]
        last = inside.index.max()
        this_year = days[(days.index.year == last.year) & (days.index <= last)]
        start = period.start_time
        before = start - 364 * DAY if period_type in ("day", "week") else start - pd.DateOffset(years=1)
        end = period.end_time.normalize()
        before_end = {
            "day": before,
            "week": before + 6 * DAY,
            "month": before + pd.offsets.MonthEnd(1),
            "quarter": before + pd.offsets.QuarterEnd(1),
        }[period_type]
        year_ago = days[(days.index >= before) & (days.index <= before_end)]
        is_known = before >= days.index.min()
        net, was = inside["net_amount"].sum(), year_ago["net_amount"].sum()
        expected.append(
            {
                "period_start": start,
                "net_amount": net,
                "running_net_amount": days.loc[:last, "net_amount"].sum(),
                "year_to_date_net_amount": this_year["net_amount"].sum(),
                "year_to_date_order_count": this_year["order_count"].sum(),
                "year_ago_net_amount": was if is_known else pd.NA,
                "year_ago_order_count": year_ago["order_count"].sum() if is_known else pd.NA,
                "net_year_on_year_rate": net / was - 1 if is_known and was > 0 and end <= as_of else np.nan,
            }
        )
    frame = pd.DataFrame(expected)
    for column in frame.columns.drop(["period_start", "net_year_on_year_rate"]):
        frame[column] = frame[column].astype("Int64")
    summary = built_shops.frame("sales_summary", source=source)

    assert_same(summary[summary["period_type"] == period_type], frame, ["period_start"])


# ---- monthly_metrics ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SHOPS)
def test_monthly_metrics(built_shops: BuiltWarehouse, source: str) -> None:
    happened = events(built_shops, source)
    happened["month"] = first_of_month(happened["day"])
    days = by_day(built_shops, source)
    as_of = built_shops.as_of(source)
    months = months_known(days, as_of)

    ordered = happened[happened["order_count"] > 0]
    first = ordered.groupby("customer_id")["month"].min().rename("first_month")
    happened = happened.merge(first, left_on="customer_id", right_index=True, how="left")
    known = happened["customer_id"].notna()
    in_month = ordered.dropna(subset=["customer_id"]).groupby("month")["customer_id"].nunique()
    is_new = known & (happened["month"] == happened["first_month"])
    new = happened[is_new & (happened["order_count"] > 0)]

    expected = happened.groupby("month")[[*MONEY, "order_count"]].sum().reindex(months).fillna(0)
    expected["customer_count"] = in_month.reindex(months).fillna(0).astype("Int64")
    expected["new_customer_count"] = (
        new.groupby("month")["customer_id"].nunique().reindex(months).fillna(0).astype("Int64")
    )
    expected["returning_customer_count"] = expected["customer_count"] - expected["new_customer_count"]
    expected["running_customer_count"] = expected["new_customer_count"].cumsum()
    for name, rows in {
        "new_customer": happened[is_new],
        "returning_customer": happened[known & ~is_new],
        "guest": happened[~known],
    }.items():
        sums = rows.groupby("month")[["net_amount", "order_count"]].sum().reindex(months).fillna(0)
        expected[f"{name}_net_amount"] = sums["net_amount"].astype("Int64")
        expected[f"{name}_order_count"] = sums["order_count"].astype("Int64")
    sold = expected["gross_amount"] - expected["discount_amount"]
    expected["average_order_value"] = rounded_money(ratio(sold, expected["order_count"]))
    is_whole = pd.Series(months >= days.index.min(), index=months)
    is_complete = pd.Series(months + pd.offsets.MonthEnd(1) <= as_of, index=months)
    expected["is_complete"] = is_complete.astype("boolean")
    for name, distance in {"previous": 1, "year_ago": 12}.items():
        was = expected["net_amount"].where(is_whole).shift(distance)
        expected[f"{name}_net_amount"] = was.astype("Int64")
    previous_orders = expected["order_count"].where(is_whole).shift(1)
    net = expected["net_amount"]
    expected["net_growth_rate"] = growth(net, expected["previous_net_amount"], where=is_complete)
    expected["order_growth_rate"] = growth(expected["order_count"], previous_orders, where=is_complete)
    expected["net_year_on_year_rate"] = growth(net, expected["year_ago_net_amount"], where=is_complete)
    expected["year_to_date_net_amount"] = net.groupby(months.year).cumsum().astype("Int64")
    expected["returning_customer_share"] = ratio(
        expected["returning_customer_count"], expected["customer_count"]
    )
    expected["cancellation_rate"] = ratio(expected["cancelled_amount"], sold)
    expected["refund_rate"] = ratio(expected["refund_amount"], sold)

    assert_same(
        built_shops.frame("monthly_metrics", source=source),
        expected.rename_axis("month").reset_index(),
        ["month"],
    )


# ---- seasonal_trends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SHOPS)
def test_seasonal_trends(built_shops: BuiltWarehouse, source: str) -> None:
    days = by_day(built_shops, source)
    last = max(built_shops.as_of(source), days.index.max())
    days = days.reindex(pd.date_range(days.index.min(), last)).fillna(0)
    dates = built_shops.frame("dim_date").set_index("date_day").reindex(days.index)
    ordered = (days["gross_amount"] - days["discount_amount"]).astype("float64") / UNITS
    orders = days["order_count"].astype("float64")
    holidays = dates["us_holiday_name"]

    around = ordered.rolling(365, center=True).mean()
    expected = []
    for dimension, members in {
        "weekday": days.index.day_name().to_series(index=days.index),
        "month": days.index.month_name().to_series(index=days.index),
        "holiday": holidays,
    }.items():
        names = list(members.dropna().unique())
        bases = {
            "amount": np.mean([ordered[members == name].mean() for name in names]) if names else np.nan,
            "orders": np.mean([orders[members == name].mean() for name in names]) if names else np.nan,
        }
        for name in names:
            inside = members == name
            if dimension == "holiday":
                comparable = [
                    day + weeks * 7 * DAY
                    for day in days.index[inside]
                    for weeks in (-4, -3, -2, -1, 1, 2, 3, 4)
                ]
                comparable = [day for day in comparable if day in days.index and pd.isna(holidays[day])]
                bases = {
                    "amount": ordered[comparable].mean() if comparable else np.nan,
                    "orders": orders[comparable].mean() if comparable else np.nan,
                }
            covered = inside & around.notna() & (dimension == "month")
            expected.append(
                {
                    "dimension": dimension,
                    "member": name,
                    "day_count": int(inside.sum()),
                    **{c: days.loc[inside, c].sum() for c in ("order_count", "gross_amount", "net_amount")},
                    "ordered_amount_index": ordered[inside].mean() / bases["amount"]
                    if bases["amount"]
                    else np.nan,
                    "order_count_index": orders[inside].mean() / bases["orders"]
                    if bases["orders"]
                    else np.nan,
                    "detrended_day_count": int(covered.sum()),
                    "detrended_index": ordered[covered].sum() / around[covered].sum()
                    if covered.any() and around[covered].sum() > 1e-9
                    else np.nan,
                }
            )
    frame = pd.DataFrame(expected)
    for column in ("day_count", "order_count", "gross_amount", "net_amount", "detrended_day_count"):
        frame[column] = frame[column].astype("Int64")

    assert_same(built_shops.frame("seasonal_trends", source=source), frame, ["dimension", "member"])


# ---- payment_method_analysis -------------------------------------------------------------------------------


def test_payment_method_analysis(built_shops: BuiltWarehouse) -> None:
    payments = built_shops.frame("fact_payments", source="ecommerce")
    tries = payments[payments["payment_status"] != "refunded"].sort_values(["paid_at", "payment_id"])
    payments["number"] = tries.groupby("order_id").cumcount() + 1
    payments["month"] = first_of_month(payments["paid_date"])
    status, number = payments["payment_status"], payments["number"]
    amount = payments["amount"]
    measures = {
        "attempt_count": number.notna(),
        "first_attempt_count": number == 1,
        "retry_count": number > 1,
        "failed_attempt_count": status == "failed",
        "failed_first_attempt_count": (status == "failed") & (number == 1),
        "captured_count": status == "captured",
        "captured_retry_count": (status == "captured") & (number > 1),
        "paid_back_count": status == "refunded",
        "captured_amount": amount.where(status == "captured", 0),
        "failed_amount": amount.where(status == "failed", 0),
        "paid_back_amount": amount.where(status == "refunded", 0),
    }
    grain = ["month", "payment_method"]
    expected = payments[grain].assign(**{n: v.astype("Int64") for n, v in measures.items()})
    expected = expected.groupby(grain).sum().reset_index()
    of_month = expected.groupby("month")[["attempt_count", "captured_amount"]].transform("sum")
    attempts, captured = expected["attempt_count"], expected["captured_amount"]
    expected["average_captured_amount"] = rounded_money(ratio(captured, expected["captured_count"]))
    expected["attempt_share"] = ratio(attempts, of_month["attempt_count"])
    expected["captured_share"] = ratio(captured, of_month["captured_amount"])
    expected["failure_rate"] = ratio(expected["failed_attempt_count"], attempts)
    expected["first_attempt_failure_rate"] = ratio(
        expected["failed_first_attempt_count"], expected["first_attempt_count"]
    )
    expected["retry_success_rate"] = ratio(expected["captured_retry_count"], expected["retry_count"])
    expected["paid_back_rate"] = ratio(expected["paid_back_amount"], captured)
    mart = built_shops.frame("payment_method_analysis")

    assert set(mart["source_system"]) == {"ecommerce"}
    assert_same(mart, expected, grain)


# ---- geographic_performance --------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SHOPS)
def test_geographic_performance(built_shops: BuiltWarehouse, source: str) -> None:
    happened = events(built_shops, source)
    customers = built_shops.frame("dim_customers", source=source)
    place = ["country", "state", "city"]
    happened = happened.merge(customers[["customer_key", *place]], on="customer_key", how="left")
    current = customers[customers["is_current"]].copy()
    buyers = set(happened.loc[happened["order_count"] > 0, "customer_id"].dropna())
    current["customer_count"] = 1
    current["buyer_count"] = current["customer_id"].isin(buyers).astype(int)
    mart = built_shops.frame("geographic_performance", source=source)
    measures = [*MONEY, "order_count", "customer_count", "buyer_count"]
    united = pd.concat([happened, current])
    for column in measures:
        united[column] = united[column].astype("Int64").fillna(0)

    unknown = dict.fromkeys(place, "(unknown)")
    for depth, level in enumerate(place, start=1):
        grain = place[:depth]
        expected = united.fillna(unknown).groupby(grain)[measures].sum().reset_index()
        sold = expected["gross_amount"] - expected["discount_amount"]
        net = expected["net_amount"]
        expected["average_order_value"] = rounded_money(ratio(sold, expected["order_count"]))
        expected["refund_rate"] = ratio(expected["refund_amount"], sold)
        expected["net_share"] = net.astype("float64") / float(net.sum())
        expected["net_rank"] = net.rank(method="min", ascending=False).astype("Int64")
        rows = mart[mart["level"] == level].fillna(unknown)

        assert_same(rows, expected, grain)


# ---- fulfilment_performance --------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SHOPS)
def test_fulfilment_performance(built_shops: BuiltWarehouse, source: str) -> None:
    orders = built_shops.frame("fact_orders", source=source)
    customers = built_shops.frame("dim_customers", source=source)
    promises = pd.read_csv(PROJECT_DIR / "dbt" / "seeds" / "shipping_promises.csv")
    as_of = built_shops.as_of(source)
    orders = orders[orders["order_type"] == "sale"]
    orders = orders.merge(customers[["customer_key", "country"]], on="customer_key", how="left")
    orders = orders.merge(promises[["shipping_method", "promised_days"]], on="shipping_method", how="left")
    has_method = orders["shipping_method"].notna()
    orders["month"] = first_of_month(orders["order_date"])
    orders["country"] = orders["country"].fillna("unknown")
    orders["shipping_method"] = orders["shipping_method"].fillna("unknown")
    stands = orders["cancelled_date"].isna()

    def seconds(start: str, end: str) -> pd.Series:
        return (orders[end] - orders[start]).dt.total_seconds().where(stands)

    to_ship, transit = seconds("ordered_at", "shipped_at"), seconds("shipped_at", "delivered_at")
    to_deliver = seconds("ordered_at", "delivered_at")
    promised = orders["promised_days"].astype("float64")
    is_open = stands & has_method & orders["delivered_at"].isna()
    due = orders["order_date"] + pd.to_timedelta(promised, unit="D")
    measures = {
        "order_count": stands | True,
        "cancelled_order_count": ~stands,
        "shipped_order_count": to_ship.notna(),
        "tracked_order_count": transit.notna(),
        "delivered_order_count": to_deliver.notna(),
        "open_order_count": is_open,
        "overdue_order_count": is_open & (due < as_of),
        "on_time_order_count": to_deliver <= promised * 86_400,
        "late_order_count": to_deliver > promised * 86_400,
        "order_to_ship_seconds": to_ship.fillna(0),
        "ship_to_delivery_seconds": transit.fillna(0),
        "order_to_delivery_seconds": to_deliver.fillna(0),
    }
    grain = ["month", "shipping_method", "country"]
    expected = orders[grain].assign(**{n: v.astype("Int64") for n, v in measures.items()})
    expected = expected.groupby(grain).sum().reset_index()
    for name, total, count in (
        ("average_days_to_ship", "order_to_ship_seconds", "shipped_order_count"),
        ("average_days_in_transit", "ship_to_delivery_seconds", "tracked_order_count"),
        ("average_days_to_deliver", "order_to_delivery_seconds", "delivered_order_count"),
    ):
        # in whole numbers, so that halves are rounded up as they are in the database
        divisor = (expected[count] * 86_400).replace(0, pd.NA)
        expected[name] = (2 * UNITS * expected[total] + divisor) // (2 * divisor)
    on_time, late = expected["on_time_order_count"], expected["late_order_count"]
    expected["on_time_share"] = ratio(on_time, on_time + late + expected["overdue_order_count"])
    expected["cancelled_order_share"] = ratio(expected["cancelled_order_count"], expected["order_count"])

    assert_same(built_shops.frame("fulfilment_performance", source=source), expected, grain)


# ---- conversion_funnel -------------------------------------------------------------------------------------

STEPS = ["session", "product", "cart", "checkout", "purchase"]


def funnel(shops: BuiltWarehouse, grain: list[str]) -> pd.DataFrame:
    sessions = shops.frame("fact_sessions", source="ecommerce")
    sessions["month"] = first_of_month(sessions["session_date"])
    happened = {
        "purchase": sessions["purchase_count"] > 0,
        "checkout": sessions["checkout_count"] > 0,
        "cart": sessions["add_to_cart_count"] > 0,
        "product": sessions["product_view_count"] > 0,
    }
    reached = pd.Series(False, index=sessions.index)
    sessions["session_session_count"] = 1
    for step, here in happened.items():
        reached = reached | here.astype(bool)
        sessions[f"{step}_session_count"] = reached.astype("Int64")
    return sessions.groupby(grain)[[f"{step}_session_count" for step in STEPS]].sum().reset_index()


def test_conversion_funnel(built_shops: BuiltWarehouse) -> None:
    grain = ["month", "device_type", "channel"]
    expected = funnel(built_shops, grain).rename(columns={"session_session_count": "session_count"})
    counts = {step: expected[f"{step}_session_count"] for step in STEPS[1:]}
    counts["session"] = expected["session_count"]
    expected["session_share"] = ratio(
        counts["session"], expected.groupby("month")["session_count"].transform("sum")
    )
    expected["product_view_rate"] = ratio(counts["product"], counts["session"])
    expected["add_to_cart_rate"] = ratio(counts["cart"], counts["product"])
    expected["checkout_rate"] = ratio(counts["checkout"], counts["cart"])
    expected["purchase_rate"] = ratio(counts["purchase"], counts["checkout"])
    expected["conversion_rate"] = ratio(counts["purchase"], counts["session"])
    expected["cart_abandonment_rate"] = 1 - ratio(counts["purchase"], counts["cart"])
    mart = built_shops.frame("conversion_funnel")

    assert set(mart["source_system"]) == {"ecommerce"}
    assert_same(mart, expected, grain)


# ---- executive_kpis ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SHOPS)
def test_executive_kpis(built_shops: BuiltWarehouse, source: str) -> None:
    metrics = built_shops.frame("monthly_metrics", source=source).set_index("month")
    first_day = by_day(built_shops, source).index.min()
    complete = metrics.index[metrics["is_complete"].astype(bool)]
    shown = max(complete) if len(complete) else max(metrics.index)
    months = {
        "value": shown,
        "previous_value": shown - pd.DateOffset(months=1),
        "year_ago_value": shown - pd.DateOffset(years=1),
    }

    def of_month(month: pd.Timestamp) -> dict[str, float]:
        row = metrics.loc[month]
        payments = built_shops.frame("fact_payments", source=source)
        attempts = payments[
            (first_of_month(payments["paid_date"]) == month) & (payments["payment_status"] != "refunded")
        ]
        sessions = built_shops.frame("fact_sessions", source=source)
        sessions = sessions[first_of_month(sessions["session_date"]) == month]
        orders = built_shops.frame("fact_orders", source=source)
        orders = orders[(first_of_month(orders["order_date"]) == month) & orders["cancelled_date"].isna()]
        delivered = (orders["delivered_at"] - orders["ordered_at"]).dt.total_seconds().dropna()
        return {
            "net_revenue": row["net_amount"] / UNITS,
            "gross_revenue": row["gross_amount"] / UNITS,
            "margin": row["margin_amount"] / UNITS,
            "margin_rate": row["margin_amount"] / row["net_amount"] if row["net_amount"] else np.nan,
            "order_count": row["order_count"],
            "average_order_value": row["average_order_value"] / UNITS,
            "customer_count": row["customer_count"],
            "new_customer_count": row["new_customer_count"],
            "returning_customer_share": row["returning_customer_share"],
            "cancellation_rate": row["cancellation_rate"],
            "refund_rate": row["refund_rate"],
            "conversion_rate": float(sessions["has_purchase"].astype("float64").mean()),
            "payment_failure_rate": float((attempts["payment_status"] == "failed").mean())
            if len(attempts)
            else np.nan,
            "average_days_to_deliver": round(delivered.mean() / 86_400, 4),
        }

    expected = pd.DataFrame(
        {
            name: of_month(month) if name == "value" or month >= first_day else {}
            for name, month in months.items()
        }
    )
    expected = expected.apply(lambda column: pd.to_numeric(column, errors="coerce")).astype("float64")
    expected["change_value"] = expected["value"] - expected["previous_value"]
    is_complete = pd.Series(shown in complete, index=expected.index)
    expected["change_rate"] = growth(expected["value"], expected["previous_value"], where=is_complete)
    expected["year_on_year_rate"] = growth(expected["value"], expected["year_ago_value"], where=is_complete)
    kpis = built_shops.frame("executive_kpis", source=source)
    on_time = kpis[kpis["kpi"] == "on_time_share"]["value"]

    assert (kpis["period_start"] == shown).all()
    assert on_time.isna().all() or on_time.between(0, 1).all()
    assert_same(
        kpis[kpis["kpi"] != "on_time_share"],
        expected.rename_axis("kpi").reset_index(),
        ["kpi"],
        tolerance=1e-8,
    )


def test_the_funnel_is_the_one_the_simulator_drew(built_shops: BuiltWarehouse, tmp_path: Path) -> None:
    """Visits by device and step exactly; its rates within the noise of the visits that are delivered."""
    generate(
        tmp_path / "landing", first=FIRST, last=LAST, scale=SCALE, entities=["web_events"],
        truth=tmp_path / "truth",
    )  # fmt: skip
    truth = json.loads((tmp_path / "truth" / "truth.json").read_text(encoding="utf-8"))
    days = pd.DataFrame(truth["totals"]["web_events"].values()).sum()
    mart = built_shops.frame("conversion_funnel")
    columns = ["session_count", *(f"{step}_session_count" for step in STEPS[1:])]
    shown = mart.groupby("device_type")[columns].sum()
    words = ["sessions", "product_view", "add_to_cart", "checkout", "purchase"]

    for device, rates in truth["behaviour"]["web"]["devices"].items():
        counts = shown.loc[device]
        assert list(counts) == [days[f"sampled_{device}_{word}"] for word in words]
        for word, before, after in zip(words[1:3], columns, columns[1:3], strict=False):
            rate, trials = rates[word], counts[before]
            error = (rate * (1 - rate) / trials) ** 0.5
            assert abs(counts[after] / trials - rate) < 4 * error, (device, word)
