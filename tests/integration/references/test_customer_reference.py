"""The customer marts, worked out again in pandas; churn risk scored against who is alive in truth."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shop_simulator import generate
from shop_simulator.behaviour import Buying
from tests.support.reference import FIRST, LAST, BuiltWarehouse, assert_same

SOURCES = ["ecommerce", "online_retail", "sales"]


def events(built_shops: BuiltWarehouse, source: str) -> pd.DataFrame:
    """What counts on which day of which customer; guests are left out.

    Columns: customer_id, day, orders (placed), kept (of them those that stand); gross, ordered (gross -
    discount), net, cost (of what was kept) in ten-thousandths; unknown: how many costs are not known.
    """
    orders = built_shops.frame("fact_orders", source=source)
    sales = orders[orders["order_type"] == "sale"]
    items = built_shops.frame("fact_order_items", source=source)
    returns = built_shops.frame("fact_returns", source=source)
    returns = returns[returns["is_counted"]]
    cancelled = items[items["cancelled_date"].notna()]
    is_sale = items["line_type"] == "sale"
    takes_back = cancelled["line_type"].isin(["sale", "cancellation"])
    value = (items["gross_amount"] - items["discount_amount"]).astype("Int64")
    parts = [
        pd.DataFrame({
            "customer_id": sales["customer_id"], "day": sales["order_date"], "orders": 1,
            "kept": sales["cancelled_date"].isna().astype(int),
        }),
        pd.DataFrame({
            "customer_id": items["customer_id"], "day": items["order_date"], "ordered": value, "net": value,
            "gross": items["gross_amount"], "cost": items["cost_amount"].fillna(0),
            "unknown": (is_sale & items["cost_amount"].isna()).astype(int),
        }),
        pd.DataFrame({
            "customer_id": cancelled["customer_id"], "day": cancelled["cancelled_date"],
            "net": -cancelled["cancelled_amount"], "cost": -cancelled["cancelled_cost_amount"].fillna(0),
            "unknown": (takes_back & cancelled["cancelled_cost_amount"].isna()).astype(int),
        }),
        pd.DataFrame({
            "customer_id": returns["customer_id"], "day": returns["returned_date"],
            "net": -returns["refund_amount"], "cost": -returns["returned_cost_amount"].fillna(0),
            "unknown": returns["returned_cost_amount"].isna().astype(int),
        }),
    ]  # fmt: skip
    united = pd.concat([part for part in parts if len(part)], ignore_index=True)
    united = united[united["customer_id"].notna()]
    numbers = ["orders", "kept", "gross", "ordered", "net", "cost", "unknown"]
    united[numbers] = united[numbers].astype("Int64").fillna(0)
    return united


def totals(happened: pd.DataFrame) -> pd.DataFrame:
    """Per customer: sums, first and last day with an order, and with one that stands."""
    by = happened.groupby("customer_id")
    result = by[["orders", "kept", "gross", "ordered", "net", "cost", "unknown"]].sum()
    for name in ("orders", "kept"):
        days = happened[happened[name] > 0].groupby("customer_id")["day"]
        result[f"first_{name}"], result[f"last_{name}"] = days.min(), days.max()
    return result


def quintile(values: pd.Series) -> pd.Series:
    """ceil(5 * share of customers at or below), in whole numbers."""
    at_or_below = values.rank(method="max").astype(int)
    return -(-5 * at_or_below // len(values))


def segments(known: pd.DataFrame) -> pd.Series:
    """The RFM segment of customers (index customer_id; columns last_kept, kept, net)."""
    recency = quintile(known["last_kept"].astype("int64"))
    both = quintile(quintile(known["kept"].astype(int)) + quintile(known["net"].astype("int64")))
    names = {
        5: ["New Customers", "Potential Loyalists", "Potential Loyalists", "Champions", "Champions"],
        4: ["Promising", "Potential Loyalists", "Potential Loyalists", "Loyal Customers", "Loyal Customers"],
        3: ["About to Sleep", "About to Sleep", "Need Attention", "Loyal Customers", "Loyal Customers"],
        2: ["Hibernating", "Hibernating", "At Risk", "At Risk", "At Risk"],
        1: ["Lost", "Lost", "Lost", "Cannot Lose Them", "Cannot Lose Them"],
    }
    return pd.Series(
        [names[r][fm - 1] for r, fm in zip(recency, both, strict=True)], index=known.index, dtype="object"
    )


def rounded(value: Fraction, places: int) -> int:
    """In units of the last place, halves away from zero, as numeric does."""
    scaled = abs(value) * 10**places
    return int(math.copysign(1, value)) * math.floor(scaled + Fraction(1, 2))


def health(recency_days: int, orders: int, net: int, ordered: int) -> dict[str, float]:
    """The three parts and their sum."""

    def points(most: int, worst: Fraction, best: Fraction, value: Fraction) -> int:
        share = min(Fraction(1), max(Fraction(0), (value - worst) / (best - worst)))
        return rounded(most * share, 6)

    kept = Fraction(net, ordered) if ordered else Fraction(0)
    parts = {
        "health_recency_points": points(40, Fraction(365), Fraction(30), Fraction(recency_days)),
        "health_frequency_points": points(30, Fraction(0), Fraction(6), Fraction(orders)),
        "health_kept_points": points(30, Fraction(1, 2), Fraction(1), kept),
    }
    parts["health_score"] = sum(parts.values())
    return {name: value / 10**6 for name, value in parts.items()}


def complete_month_ends(first: pd.Timestamp, as_of: pd.Timestamp) -> list[pd.Timestamp]:
    return [day for day in pd.date_range(first, as_of + pd.Timedelta(days=31), freq="ME") if day <= as_of]


@pytest.mark.parametrize("source", SOURCES)
def test_money_segment_and_health_of_the_summary(built_shops: BuiltWarehouse, source: str) -> None:
    as_of = built_shops.as_of(source)
    known = totals(events(built_shops, source))
    ordering = known[known["orders"] > 0]
    scores = [
        health(max(0, (as_of - row.last_orders).days), int(row.orders), int(row.net), int(row.ordered))
        for row in ordering.itertuples()
    ]
    standing = known[known["kept"] > 0]
    expected = pd.DataFrame({
        "order_count": known["orders"],
        "frequency": known["kept"],
        "gross_amount": known["gross"],
        "net_amount": known["net"],
        "margin_amount": (known["net"] - known["cost"]).where(known["unknown"] == 0),
        "rfm_segment": segments(standing).reindex(known.index),
    })  # fmt: skip
    expected = expected.join(pd.DataFrame(scores, index=ordering.index)).reset_index()
    summary = built_shops.frame("customer_summary", source=source)

    assert_same(summary[summary["customer_id"].isin(expected["customer_id"])], expected, ["customer_id"])
    without = summary[~summary["customer_id"].isin(expected["customer_id"])]
    assert (without["net_amount"] == 0).all()
    assert without["rfm_segment"].isna().all()

    in_segments = built_shops.frame("customer_segmentation", source=source)
    assert_same(
        in_segments.rename(columns={"segment": "rfm_segment", "monetary_amount": "net_amount"}),
        expected[expected["frequency"] > 0],
        ["customer_id"],
        ["rfm_segment", "frequency", "net_amount"],
    )


@pytest.mark.parametrize("source", SOURCES)
def test_lifetime_values(built_shops: BuiltWarehouse, source: str) -> None:
    as_of = built_shops.as_of(source)
    known = totals(events(built_shops, source))
    known = known[known["kept"] > 0]
    gaps = int((known["kept"] - 1).sum())
    shop_gap = Fraction(int((known["last_kept"] - known["first_kept"]).dt.days.sum()), gaps)
    rows = []
    for row in known.itertuples():
        n, active = int(row.kept), (row.last_kept - row.first_kept).days
        observed = active + max(0, (as_of - row.last_kept).days)
        odds = float((3 + n - 1) * ((shop_gap + active) / (shop_gap + observed)) ** n)
        expected_gap = (shop_gap + active) / n
        due = row.last_kept + pd.Timedelta(days=rounded(expected_gap, 0))
        margin = row.net - row.cost if row.unknown == 0 else None
        rows.append({
            "customer_id": row.Index,
            "historic_gross_amount": row.gross,
            "historic_net_amount": row.net,
            "historic_margin_amount": margin,
            "margin_rate": float("nan") if margin is None or row.net == 0
            else rounded(Fraction(int(margin), int(row.net)), 10) / 1e10,
            "expected_days_between_orders": rounded(expected_gap, 4),
            "shop_days_between_orders": rounded(shop_gap, 4),
            "expected_next_order_date": due,
            "is_overdue": due < as_of,
            "churn_risk": 1 / (1 + odds),
        })  # fmt: skip
    expected = pd.DataFrame(rows)
    expected["historic_margin_amount"] = expected["historic_margin_amount"].astype("Int64")
    expected["ltv_score"] = quintile(expected["historic_net_amount"].astype("int64"))
    mart = built_shops.frame("customer_ltv_analysis", source=source)

    exact = [column for column in expected if column != "churn_risk"]
    assert_same(mart, expected, ["customer_id"], exact)
    assert_same(mart, expected, ["customer_id"], ["churn_risk"], tolerance=5.1e-7)  # it has six places


@pytest.mark.parametrize("source", SOURCES)
def test_cohorts(built_shops: BuiltWarehouse, source: str) -> None:
    as_of = built_shops.as_of(source)
    happened = events(built_shops, source)
    first = totals(happened)["first_orders"].dropna().dt.to_period("M")
    happened = happened[happened["customer_id"].isin(first.index)]
    cohort = happened["customer_id"].map(first)
    since = [
        max(0, m.ordinal - c.ordinal) for m, c in zip(happened["day"].dt.to_period("M"), cohort, strict=True)
    ]
    happened = happened.assign(cohort=cohort, since=since)
    sizes = first.value_counts()
    rows = []
    for month, size in sizes.items():
        cumulative = 0
        last = max(
            as_of.to_period("M").ordinal - month.ordinal,
            int(happened.loc[happened["cohort"] == month, "since"].max()),
        )
        for number in range(last + 1):
            of_cell = (happened["cohort"] == month) & (happened["since"] == number)
            active = happened[of_cell & (happened["orders"] > 0)]["customer_id"].nunique()
            net = int(happened.loc[of_cell, "net"].sum())
            cumulative += net
            rows.append({
                "cohort_month": month.to_timestamp(),
                "months_since": number,
                "cohort_size": int(size),
                "active_customer_count": active,
                "retention_rate": rounded(Fraction(active, int(size)), 10) / 1e10,
                "order_count": int(happened.loc[of_cell, "orders"].sum()),
                "net_amount": net,
                "cumulative_net_amount": cumulative,
                "cumulative_net_per_customer": rounded(Fraction(cumulative, int(size)), 0),
                "is_complete": (month + number).end_time.normalize() <= as_of,
            })  # fmt: skip

    assert_same(
        built_shops.frame("cohort_analysis", source=source),
        pd.DataFrame(rows),
        ["cohort_month", "months_since"],
    )


@pytest.mark.parametrize("source", SOURCES)
def test_cumulative_retention(built_shops: BuiltWarehouse, source: str) -> None:
    as_of = built_shops.as_of(source)
    happened = events(built_shops, source)
    placed = happened[happened["orders"] > 0].groupby("customer_id")["day"]
    days = placed.agg(lambda of_one: sorted(set(of_one)))
    rows = []
    for month, customers in days.groupby(days.map(lambda of_one: of_one[0].to_period("M"))):
        for length in (3, 12, 18):
            if (month + length).end_time.normalize() > as_of:
                continue
            back = sum(
                len(of_one) > 1 and of_one[1] < of_one[0] + pd.DateOffset(months=length)
                for of_one in customers
            )
            rows.append({
                "cohort_month": month.to_timestamp(),
                "window_months": length,
                "cohort_size": len(customers),
                "retained_customer_count": back,
                "cumulative_retention_rate": rounded(Fraction(back, len(customers)), 10) / 1e10,
                "is_small_cohort": len(customers) < 10,
            })  # fmt: skip

    assert_same(
        built_shops.frame("cumulative_retention_analysis", source=source),
        pd.DataFrame(rows),
        ["cohort_month", "window_months"],
    )


@pytest.mark.parametrize("source", SOURCES)
def test_lifecycle_at_every_month_end(built_shops: BuiltWarehouse, source: str) -> None:
    """Each month-end by the events up to it, as if the data ended there."""
    as_of = built_shops.as_of(source)
    happened = events(built_shops, source)
    order_days = happened[happened["orders"] > 0].sort_values("day").groupby("customer_id")["day"]
    pauses = {
        customer: [(later, (later - day).days) for day, later in zip(days, days.iloc[1:], strict=False)]
        for customer, days in order_days
    }
    rows = []
    for month_end in complete_month_ends(happened["day"].min(), as_of):
        known = totals(happened[happened["day"] <= month_end])
        for row in known[known["orders"] > 0].itertuples():
            recency, tenure = (month_end - row.last_orders).days, (month_end - row.first_orders).days
            came_back = any(
                days > 180 and 0 <= (month_end - day).days <= 90 for day, days in pauses[row.Index]
            )
            stage = (
                "new" if tenure <= 90
                else "returned" if came_back
                else "active" if recency <= 90
                else "cooling" if recency <= 180
                else "dormant" if recency <= 365
                else "lost"
            )  # fmt: skip
            rows.append({
                "customer_id": row.Index, "month_end": month_end, "stage": stage, "recency_days": recency,
                "tenure_days": tenure, "order_count": row.orders, "net_amount": row.net,
                **health(recency, int(row.orders), int(row.net), int(row.ordered)),
            })  # fmt: skip

    assert_same(
        built_shops.frame("customer_lifecycle_snapshot", source=source),
        pd.DataFrame(rows),
        ["customer_id", "month_end"],
    )


@pytest.mark.parametrize("source", SOURCES)
def test_migrations_between_segments(built_shops: BuiltWarehouse, source: str) -> None:
    as_of = built_shops.as_of(source)
    happened = events(built_shops, source)
    then: dict[str, str] = {}
    rows = []
    for day in sorted({*complete_month_ends(happened["day"].min(), as_of), as_of}):
        known = totals(happened[happened["day"] <= day])
        # months before a first order that is placed are not looked at
        known = known[(known["kept"] > 0) & (known["orders"] > 0)]
        now = segments(known).to_dict()
        rows += [
            {
                "snapshot_date": day,
                "customer_id": customer,
                "from_segment": then.get(customer),
                "to_segment": now.get(customer),
            }
            for customer in {*then, *now}
            if then.get(customer) != now.get(customer)
        ]
        then = now

    assert_same(
        built_shops.frame("segment_migrations", source=source),
        pd.DataFrame(rows),
        ["snapshot_date", "customer_id"],
    )


def test_campaigns_reach_those_who_opted_in(built_shops: BuiltWarehouse) -> None:
    source = "ecommerce"
    as_of = built_shops.as_of(source)
    customers = built_shops.frame("dim_customers", source=source)
    agreed = customers[customers["is_current"] & customers["is_marketing_opt_in"].fillna(False)][
        "customer_id"
    ]
    known = totals(events(built_shops, source))
    known = known[(known["kept"] > 0) & known.index.isin(agreed)]
    risks = built_shops.frame("customer_ltv_analysis", source=source).set_index("customer_id")["churn_risk"]
    rows = []
    for row in known.itertuples():
        days = (as_of - row.last_kept).days
        campaign = (
            "Early Engagement" if 7 <= days <= 60 and row.kept == 1
            else "Re-activation" if 61 <= days <= 120
            else "Win-back" if 121 <= days <= 240
            else "Final Push" if 241 <= days <= 365
            else "Long-term Win-back" if 366 <= days <= 730
            else None
        )  # fmt: skip
        value = rounded(Fraction(int(row.ordered), int(row.orders)), 0)
        stays = 1 - Fraction(round(risks[row.Index] * 10**6), 10**6)
        if campaign:
            rows.append({
                "customer_id": row.Index, "campaign": campaign, "average_order_value": value,
                "expected_value_amount": rounded(stays * value, 0),
            })  # fmt: skip

    assert_same(built_shops.frame("campaign_targets", source=source), pd.DataFrame(rows), ["customer_id"])
    for other in ("online_retail", "sales"):  # they know of no consent
        assert built_shops.frame("campaign_targets", source=other).empty


def area_under_curve(score: np.ndarray, is_dead: np.ndarray) -> float:
    """The probability that a dead customer has a higher score than one alive; ties count half."""
    ranks = pd.Series(score).rank().to_numpy()
    dead, alive = int(is_dead.sum()), int((~is_dead).sum())
    return float((ranks[is_dead].sum() - dead * (dead + 1) / 2) / (dead * alive))


def test_churn_risk_finds_who_stopped_nearly_as_well_as_who_knows_the_parameters(
    built_shops: BuiltWarehouse, tmp_path: Path
) -> None:
    """Repeat buyers; the optimum is P(dead) of BG/NBD with the true parameters.

    Fader, Hardie, Lee, "Computing P(alive) Using the BG/NBD Model" (2008).
    """
    generate(
        tmp_path / "landing", first=LAST, last=LAST, opening=FIRST, scale=0.3, entities=["customers"],
        truth=tmp_path / "truth",
    )  # fmt: skip
    truth = pd.read_csv(tmp_path / "truth" / "customers.csv").set_index("customer_id")
    mart = built_shops.frame("customer_ltv_analysis", source="ecommerce").set_index("customer_id")
    known = mart[mart["order_count"] > 1].join(truth, how="inner")
    is_dead = ~known["is_alive"].astype(bool).to_numpy()
    assert len(known) > 300
    assert 100 < is_dead.sum() < len(known) - 100

    buying = Buying()
    repeats = known["order_count"].to_numpy(dtype=float) - 1
    active = (known["last_kept_order_date"] - known["first_kept_order_date"]).dt.days.to_numpy() / 7
    observed = (pd.Timestamp(LAST) - known["first_kept_order_date"]).dt.days.to_numpy() / 7
    odds = buying.a / (buying.b + repeats - 1)
    odds *= ((buying.alpha + observed) / (buying.alpha + active)) ** (buying.r + repeats)
    optimum = area_under_curve(odds, is_dead)
    found = area_under_curve(known["churn_risk"].to_numpy(), is_dead)
    many, dead = len(known), int(is_dead.sum())
    print(f"churn risk: AUC {found:.4f}, optimum {optimum:.4f}; {many} repeat buyers, {dead} of them dead")

    assert found > optimum - 0.05
    # and not by rank alone: the mean risk is near the share of those who stopped
    assert abs(known["churn_risk"].mean() - is_dead.mean()) < 0.08
