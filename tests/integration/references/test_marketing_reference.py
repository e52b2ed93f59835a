"""The marketing marts, worked out again in pandas from facts and dimensions, order by order."""

from __future__ import annotations

import csv
import datetime as dt
from dataclasses import dataclass
from functools import cache

import pandas as pd
import pytest

from ecommerce_dw.settings import PROJECT_DIR
from tests.support.reference import BuiltWarehouse, assert_same

SOURCES = ["ecommerce", "online_retail", "sales"]
LOOKBACK = dt.timedelta(days=30)
NO_CAMPAIGN = "(none)"
AMOUNTS = ["gross", "discount", "cancelled", "refund", "cost"]


@pytest.mark.parametrize("source", SOURCES)
def test_attribution_of_every_order(built_shops: BuiltWarehouse, source: str) -> None:
    shop = Shop.of(built_shops, source)
    mart = built_shops.frame("channel_attribution", source=source)
    for model in ("first_touch", "last_touch"):
        expected = shop.sales([f"{model}_channel"]).rename(columns={f"{model}_channel": "channel"})
        all_orders = expected.groupby("month")["order_count"].transform("sum")
        all_amount = expected.groupby("month")["order_amount"].transform("sum")
        expected["order_share"] = _ratio(expected["order_count"], all_orders)
        expected["order_amount_share"] = _ratio(expected["order_amount"], all_amount)
        columns = [
            "order_count", "tracked_order_count", "order_amount", "cancelled_amount", "refund_amount",
            "net_amount", "margin_amount", "order_share", "order_amount_share",
        ]  # fmt: skip
        of_model = mart[mart["attribution_model"] == model]
        assert_same(of_model, expected, ["channel", "month"], columns)


def test_channel_performance_of_months_and_of_all(built_shops: BuiltWarehouse) -> None:
    shop = Shop.of(built_shops, "ecommerce")
    reach = shop.reach(["channel"])
    sales = shop.sales(["first_touch_channel"]).rename(columns={"first_touch_channel": "channel"})
    customers = shop.new_customers().groupby(["channel", "month"]).size().rename("new_customer_count")
    months = _joined(reach, sales, customers.reset_index(), on=["channel", "month"])
    mart = built_shops.frame("channel_performance", source="ecommerce")
    for period, expected in (("month", months), ("all", months.groupby("channel").sum(numeric_only=True))):
        expected = (
            expected.reset_index() if period == "all" else expected.rename(columns={"month": "period_start"})
        )
        expected["conversion_value"] = expected["order_amount"]
        expected["profit_amount"] = expected["margin_amount"] - expected["spend_amount"]
        expected["click_through_rate"] = _ratio(expected["click_count"], expected["impression_count"])
        expected["conversion_rate"] = _ratio(expected["converted_session_count"], expected["session_count"])
        expected["return_on_ad_spend"] = _ratio(expected["conversion_value"], expected["spend_amount"])
        expected["return_on_investment"] = _ratio(expected["profit_amount"], expected["spend_amount"])
        expected["cost_per_click"] = _each(expected["spend_amount"], expected["click_count"])
        expected["cost_per_acquisition"] = _each(expected["spend_amount"], expected["new_customer_count"])
        expected["cost_per_order"] = _each(expected["spend_amount"], expected["order_count"])
        by = ["period_start"] if period == "month" else (lambda _: 0)
        expected["profit_rank"] = (
            expected.groupby(by)["profit_amount"].rank(method="min", ascending=False).astype("Int64")
        )
        compared = [c for c in expected if c in mart and c not in ("channel", "period_start")]
        assert len(compared) == 19
        keys = ["channel", "period_start"] if period == "month" else ["channel"]
        assert_same(mart[mart["period_type"] == period], expected, keys, compared)


def test_outlier_days_by_the_interquartile_rule(built_shops: BuiltWarehouse) -> None:
    mart = built_shops.frame("channel_performance_daily", source="ecommerce")
    mart["month"] = mart["day"].dt.to_period("M")
    shop = Shop.of(built_shops, "ecommerce")
    assert mart["spend_amount"].sum() == shop.spend["spend_amount"].sum()
    assert mart["session_count"].sum() == len(shop.sessions)
    flags = {
        "spend_amount": "is_spend_outlier",
        "click_count": "is_click_outlier",
        "conversion_value": "is_conversion_value_outlier",
    }
    for measure, flag in flags.items():
        days = mart.groupby(["channel", "month"])[measure]
        low = days.transform(lambda values: sorted(values)[-(-len(values) // 4) - 1])
        high = days.transform(lambda values: sorted(values)[-(-3 * len(values) // 4) - 1])
        spread = 3 * (high - low)  # twice the rule's 1.5, so that all stay whole numbers
        beyond = (2 * mart[measure] < 2 * low - spread) | (2 * mart[measure] > 2 * high + spread)
        expected = beyond & (high > low)
        assert expected.any()
        assert (expected == mart[flag]).all(), measure
    counted = built_shops.frame("channel_performance", source="ecommerce")
    assert counted.loc[counted["period_type"] == "all", "outlier_day_count"].sum() == mart["is_outlier"].sum()


def test_campaign_performance_of_months_and_of_all(built_shops: BuiltWarehouse) -> None:
    shop = Shop.of(built_shops, "ecommerce")
    keys = ["channel", "campaign"]
    sales = shop.sales(["last_touch_channel", "last_touch_campaign"], tracked_only=True)
    sales = sales.rename(columns={"last_touch_channel": "channel", "last_touch_campaign": "campaign"})
    months = _joined(shop.reach(keys), sales, on=[*keys, "month"])
    months = months[months["campaign"] != NO_CAMPAIGN]
    of_shop = shop.sales([]).set_index("month")[["order_count", "tracked_order_count"]]
    mart = built_shops.frame("campaign_performance", source="ecommerce")
    for period in ("month", "all"):
        if period == "month":
            expected = months.rename(columns={"month": "period_start"})
            on_record = expected["period_start"].map(of_shop["tracked_order_count"])
            all_orders = expected["period_start"].map(of_shop["order_count"])
        else:
            expected = months.groupby(keys).sum(numeric_only=True).reset_index()
            on_record = pd.Series(of_shop["tracked_order_count"].sum(), index=expected.index)
            all_orders = pd.Series(of_shop["order_count"].sum(), index=expected.index)
        expected["tracked_order_count"] = expected["order_count"]
        expected["tracked_order_amount"] = expected["order_amount"]
        expected["tracked_margin_amount"] = expected["margin_amount"]
        expected["tracked_order_share"] = _ratio(on_record, all_orders)
        expected["estimated_order_count"] = _each(10_000 * expected["order_count"] * all_orders, on_record)
        expected["estimated_conversion_value"] = _each(expected["order_amount"] * all_orders, on_record)
        estimated_margin = _each(expected["margin_amount"] * all_orders, on_record)
        expected["estimated_profit_amount"] = estimated_margin - expected["spend_amount"]
        expected["click_through_rate"] = _ratio(expected["click_count"], expected["impression_count"])
        expected["conversion_rate"] = _ratio(expected["converted_session_count"], expected["session_count"])
        expected["cost_per_click"] = _each(expected["spend_amount"], expected["click_count"])
        expected["cost_per_order"] = _each(
            expected["spend_amount"] * on_record, expected["order_count"] * all_orders
        )
        expected["return_on_ad_spend"] = _ratio(
            expected["order_amount"] * all_orders, expected["spend_amount"] * on_record
        )
        expected["return_on_investment"] = _ratio(
            expected["margin_amount"] * all_orders - expected["spend_amount"] * on_record,
            expected["spend_amount"] * on_record,
        )
        compared = [c for c in expected if c in mart and c not in (*keys, "period_start")]
        assert len(compared) >= 16
        grain = [*keys, "period_start"] if period == "month" else keys
        assert_same(mart[mart["period_type"] == period], expected, grain, compared)


def test_customer_acquisition(built_shops: BuiltWarehouse) -> None:
    shop = Shop.of(built_shops, "ecommerce")
    as_of = built_shops.as_of("ecommerce")
    customers = shop.new_customers().rename(columns={"month": "acquisition_month"})
    events = shop.events.merge(customers, on="customer_id")
    events["margin"] = _margin(events)
    spend = shop.reach(["channel"]).rename(columns={"month": "acquisition_month"})
    spend = spend.set_index(["channel", "acquisition_month"])["spend_amount"]
    rows = []
    keys = {*spend[spend > 0].index} | {*customers.groupby(["channel", "acquisition_month"]).groups}
    for channel, month in keys:
        brought = customers[(customers["channel"] == channel) & (customers["acquisition_month"] == month)]
        theirs = events[(events["channel"] == channel) & (events["acquisition_month"] == month)]
        spent = int(spend.get((channel, month), 0))
        margin, so_far, payback = int(theirs["margin"].sum()), 0, pd.NA
        for later, values in sorted(theirs.groupby("month")["margin"]):
            so_far += int(values.sum())
            if spent and payback is pd.NA and so_far >= spent:
                payback = _months(month, later)
        net = int(_net(theirs).sum())
        rows.append(
            {
                "channel": channel,
                "acquisition_month": month,
                "months_observed": _months(month, as_of),
                "new_customer_count": len(brought),
                "order_count": int(theirs["order_count"].sum()),
                "spend_amount": spent,
                "net_amount": net,
                "margin_amount": margin,
                "payback_months": payback,
                "ltv_to_cac_ratio": margin / spent if spent and len(brought) else float("nan"),
            }
        )
    expected = pd.DataFrame(rows).astype({"payback_months": "Int64"})
    count = expected["new_customer_count"].astype("Int64")
    expected["customer_acquisition_cost"] = _each(expected["spend_amount"], count)
    expected["net_per_customer"] = _each(expected["net_amount"], count)
    expected["lifetime_value"] = _each(expected["margin_amount"], count)
    mart = built_shops.frame("customer_acquisition", source="ecommerce")
    assert_same(mart, expected, ["channel", "acquisition_month"])


@pytest.mark.parametrize("source", ["online_retail", "sales"])
@pytest.mark.parametrize(
    "table",
    ["channel_performance", "channel_performance_daily", "campaign_performance", "customer_acquisition"],
)
def test_shops_that_deliver_no_spend_have_no_rows(
    built_shops: BuiltWarehouse, table: str, source: str
) -> None:
    assert built_shops.frame(table, source=source).empty


@dataclass(frozen=True)
class Shop:
    """What happened in one shop.

    Attributes:
        events: What counts on which day, with the touches of its order; amounts in ten-thousandths.
        sessions: As in fact_sessions.
        spend: As in fact_marketing_spend.
        first_orders: Day of each customer's first order.
        first_touches: Channel, campaign, moment and day of each customer's first touch; no moment where
            the shop recorded it.
    """

    events: pd.DataFrame
    sessions: pd.DataFrame
    spend: pd.DataFrame
    first_orders: pd.Series
    first_touches: dict[str, tuple[str, str, pd.Timestamp | None, pd.Timestamp | None]]

    @staticmethod
    @cache
    def of(warehouse: BuiltWarehouse, source: str) -> Shop:
        orders = warehouse.frame("fact_orders", source=source)
        items = warehouse.frame("fact_order_items", source=source)
        returns = warehouse.frame("fact_returns", source=source)
        sessions = warehouse.frame("fact_sessions", source=source)
        sessions["campaign"] = sessions["campaign"].fillna(NO_CAMPAIGN)
        sessions = sessions.sort_values(["started_at", "session_id"])
        customers = warehouse.frame("dim_customers", source=source)
        first_touches = _first_touches(customers[customers["is_current"]], sessions)
        touches = _touches(orders, sessions, first_touches)
        events = _events(orders, items, returns[returns["is_counted"]]).merge(touches, on="order_id")
        sold = orders[orders["order_type"] == "sale"]
        return Shop(
            events,
            sessions,
            warehouse.frame("fact_marketing_spend", source=source),
            sold.groupby("customer_id")["order_date"].min(),
            first_touches,
        )

    def sales(self, by: list[str], *, tracked_only: bool = False) -> pd.DataFrame:
        """Orders and amounts by touch and month."""
        events = self.events[self.events["is_tracked"]] if tracked_only else self.events
        events = events.assign(
            order_amount=events["gross"] - events["discount"],
            cancelled_amount=events["cancelled"],
            refund_amount=events["refund"],
            net_amount=_net(events),
            margin_amount=_margin(events),
            tracked_order_count=events["order_count"] * events["is_tracked"].astype("int64"),
        )
        measures = [
            "order_count", "tracked_order_count", "order_amount", "cancelled_amount", "refund_amount",
            "net_amount", "margin_amount",
        ]  # fmt: skip
        unknown = events["margin_amount"].isna().groupby([events[c] for c in (*by, "month")]).any()
        summed = events.groupby([*by, "month"])[measures].sum()
        summed.loc[unknown[unknown].index, "margin_amount"] = pd.NA
        return summed.reset_index()

    def reach(self, by: list[str]) -> pd.DataFrame:
        """Spend and visits by channel (and campaign) and month."""
        spend = self.spend.assign(month=_month(self.spend["spend_date"]))
        spend = spend.groupby([*by, "month"])[["impression_count", "click_count", "spend_amount"]].sum()
        visits = self.sessions.assign(
            month=_month(self.sessions["session_date"]),
            session_count=1,
            converted_session_count=self.sessions["has_purchase"].astype("int64"),
        )
        visits = visits.groupby([*by, "month"])[["session_count", "converted_session_count"]].sum()
        return spend.join(visits, how="outer").fillna(0).astype("Int64").reset_index()

    def new_customers(self) -> pd.DataFrame:
        """Each customer with an order: the month of the first one, and the channel that brought it."""
        rows = []
        for customer, day in self.first_orders.items():
            channel, _, moment, visited = self.first_touches[str(customer)]
            if moment is not None and visited > day:
                channel = "unknown"
            rows.append((customer, channel, day.to_period("M").to_timestamp()))
        return pd.DataFrame(rows, columns=["customer_id", "channel", "month"])


def _first_touches(
    customers: pd.DataFrame, sessions: pd.DataFrame
) -> dict[str, tuple[str, str, pd.Timestamp | None, pd.Timestamp | None]]:
    with (PROJECT_DIR / "dbt" / "seeds" / "channel_aliases.csv").open(encoding="utf-8") as file:
        aliases = {row["alias"]: row["channel"] for row in csv.DictReader(file)}
    first_visits = sessions.dropna(subset=["customer_id"]).groupby("customer_id").first()
    touches: dict[str, tuple[str, str, pd.Timestamp | None, pd.Timestamp | None]] = {}
    for customer, recorded in zip(customers["customer_id"], customers["acquisition_channel"], strict=True):
        if recorded is not None:
            touches[customer] = (aliases.get(recorded.strip().lower(), "unknown"), NO_CAMPAIGN, None, None)
        elif customer in first_visits.index:
            visit = first_visits.loc[customer]
            touches[customer] = (
                visit["channel"],
                visit["campaign"],
                visit["started_at"],
                visit["session_date"],
            )
        else:
            touches[customer] = ("unknown", NO_CAMPAIGN, None, None)
    return touches


def _touches(
    orders: pd.DataFrame,
    sessions: pd.DataFrame,
    first_touches: dict[str, tuple[str, str, pd.Timestamp | None, pd.Timestamp | None]],
) -> pd.DataFrame:
    own = {visit.order_id: visit for visit in sessions.itertuples() if visit.order_id is not None}
    visits: dict[str, list[object]] = {}
    for visit in sessions.itertuples():
        if visit.customer_id is not None:
            visits.setdefault(visit.customer_id, []).append(visit)
    rows = []
    for order in orders.itertuples():
        named = own.get(order.order_id)
        last = named
        if last is None:
            for visit in visits.get(order.customer_id, []):
                if order.ordered_at - LOOKBACK <= visit.started_at <= order.ordered_at:  # type: ignore[attr-defined]
                    last = visit
        channel, campaign, moment, _ = first_touches.get(order.customer_id, ("unknown", "", None, None))
        if order.customer_id is None or (moment is not None and moment > order.ordered_at) or not campaign:
            channel, campaign = (named.channel, named.campaign) if named else ("unknown", NO_CAMPAIGN)
        rows.append(
            (
                order.order_id,
                channel,
                campaign,
                last.channel if last else "unknown",  # type: ignore[attr-defined]
                last.campaign if last else NO_CAMPAIGN,  # type: ignore[attr-defined]
                named is not None,
            )
        )
    columns = [
        "order_id", "first_touch_channel", "first_touch_campaign", "last_touch_channel",
        "last_touch_campaign", "is_tracked",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _events(orders: pd.DataFrame, items: pd.DataFrame, returns: pd.DataFrame) -> pd.DataFrame:
    """What counts on which day. A fee has no cost; that of an unknown product is unknown."""
    sold = items.assign(
        day=items["order_date"], gross=items["gross_amount"], discount=items["discount_amount"]
    )
    sold["cost"] = items["cost_amount"].where(items["line_type"] == "sale", 0)
    undone = items[items["cancelled_date"].notna()]
    undone = undone.assign(day=undone["cancelled_date"], cancelled=undone["cancelled_amount"])
    counts = undone["line_type"].isin(["sale", "cancellation"])
    undone["cost"] = -undone["cancelled_cost_amount"].where(counts, 0)
    back = returns.assign(
        day=returns["returned_date"], refund=returns["refund_amount"], cost=-returns["returned_cost_amount"]
    )
    placed = orders.assign(
        day=orders["order_date"], order_count=(orders["order_type"] == "sale").astype("int64")
    )
    placed["cost"] = 0
    # an order that was cancelled counts on that day, even without an item
    cancelled = orders[orders["cancelled_date"].notna()]
    cancelled = cancelled.assign(day=cancelled["cancelled_date"], cost=0)
    parts = []
    for part in (sold, undone, back, placed, cancelled):
        part = part.reindex(columns=["order_id", "customer_id", "day", "order_count", *AMOUNTS])
        zero = dict.fromkeys(("order_count", "gross", "discount", "cancelled", "refund"), 0)
        parts.append(part.fillna(zero).astype(dict.fromkeys([*zero, "cost"], "Int64")))
    events = pd.concat(parts, ignore_index=True)
    return events.assign(month=_month(events["day"]))


def _net(events: pd.DataFrame) -> pd.Series:
    return events["gross"] - events["discount"] - events["cancelled"] - events["refund"]


def _margin(events: pd.DataFrame) -> pd.Series:
    return _net(events) - events["cost"]


def _month(days: pd.Series) -> pd.Series:
    return days.dt.to_period("M").dt.to_timestamp()


def _months(first: pd.Timestamp, later: pd.Timestamp) -> int:
    return int(12 * (later.year - first.year) + later.month - first.month)


def _joined(left: pd.DataFrame, *others: pd.DataFrame, on: list[str]) -> pd.DataFrame:
    for other in others:
        left = left.merge(other, on=on, how="outer")
    measures = [c for c in left if c not in on]
    return left.fillna(dict.fromkeys(measures, 0)).astype(dict.fromkeys(measures, "Int64"))


def _ratio(numerator: pd.Series, denominator: pd.Series) -> pd.Series:
    return numerator.astype("float64") / denominator.astype("float64").where(denominator != 0)


def _each(amount: pd.Series, count: pd.Series) -> pd.Series:
    """amount / count, halves away from zero, in whole units; missing without a count."""

    def one(units: int, number: int) -> object:
        if pd.isna(units) or pd.isna(number) or number == 0:
            return pd.NA
        rounded = (2 * abs(int(units)) + int(number)) // (2 * int(number))
        return rounded if units >= 0 else -rounded

    values = [one(units, number) for units, number in zip(amount, count, strict=True)]
    return pd.Series(values, index=amount.index, dtype="Int64")
