"""Returns: of delivered lines only, in time, for their share of the line, as often as the truth says."""

import numpy as np
import pandas as pd
import pytest

from shop_simulator import Behaviour, Generation, Shop
from tests.unit.generation.conftest import read_all

RETURNS = Behaviour().returns


def cents(amounts: pd.Series) -> pd.Series:
    return amounts.str.replace(".", "", regex=False).astype("int64")


@pytest.fixture(scope="module")
def delivered(orders: pd.DataFrame, items: pd.DataFrame, products: pd.DataFrame) -> pd.DataFrame:
    """Lines of delivered orders, with the order's times and the product's category."""
    final = orders.groupby("order_id").last()
    final = final[final.order_status == "delivered"]
    lines = items.merge(final, left_on="order_id", right_index=True, suffixes=("", "_order"))
    lines["category"] = lines.product_id.map(products.groupby("product_id").category.first())
    lines["delivered"] = pd.to_datetime(lines.delivered_at)
    promised = pd.to_timedelta(lines.shipping_method.map(RETURNS.promised_days), unit="D")
    lines["is_late"] = lines.delivered - pd.to_datetime(lines.created_at) > promised
    return lines.set_index("order_item_id")


@pytest.fixture(scope="module")
def returns(two_years: Generation) -> pd.DataFrame:
    frame = read_all(two_years.out, "returns")
    return frame.assign(quantity=frame.quantity.astype("int64"), returned=pd.to_datetime(frame.returned_at))


def test_returns_are_of_delivered_lines_within_thirty_days(
    returns: pd.DataFrame, delivered: pd.DataFrame
) -> None:
    assert returns.return_id.str.fullmatch(r"RT\d{17}").all()
    assert returns.return_id.is_unique
    assert (returns.returned_at.str[:10] == returns.file_date).all()
    wait = returns.returned.to_numpy() - delivered.loc[returns.order_item_id, "delivered"].to_numpy()
    assert wait.min() >= np.timedelta64(1, "D")
    assert wait.max() <= np.timedelta64(30, "D")
    assert wait.max() > np.timedelta64(29, "D")


def test_no_more_comes_back_than_was_bought_and_it_is_paid_back_in_proportion(
    returns: pd.DataFrame, delivered: pd.DataFrame
) -> None:
    lines = delivered.loc[returns.order_item_id]
    ordered, total = lines.quantity.astype("int64").to_numpy(), cents(lines.line_total).to_numpy()
    assert returns.order_item_id.is_unique
    assert (returns.quantity >= 1).all() and (returns.quantity.to_numpy() <= ordered).all()
    refund = cents(returns.refund_amount).to_numpy()
    share = total * returns.quantity.to_numpy() / ordered
    assert (np.abs(refund - share) <= 0.5).all()
    assert (refund <= total).all()
    several = ordered > 1
    whole = returns.quantity.to_numpy()[several] == ordered[several]
    expected = RETURNS.whole_share
    assert whole.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / several.sum()))


def test_the_return_rate_of_each_category_is_recovered(
    returns: pd.DataFrame, delivered: pd.DataFrame
) -> None:
    """Within four standard errors, of lines in time and of late ones, which come back more often."""
    old = delivered[delivered.delivered < "2026-01-01"]
    is_returned = old.index.isin(returns.order_item_id)
    assert 0.02 < old.is_late.mean() < 0.2
    for category, rate in RETURNS.rates.items():
        in_time = is_returned[(old.category == category) & ~old.is_late]
        assert in_time.mean() == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / len(in_time)))
    late = old[old.is_late]
    expected = late.category.map(RETURNS.rates) * RETURNS.late_factor
    error = np.sqrt((expected * (1 - expected)).sum())
    assert abs(is_returned[old.is_late].sum() - expected.sum()) < 4 * error
    plain = late.category.map(RETURNS.rates).sum()
    assert is_returned[old.is_late].sum() > plain + 3 * np.sqrt(plain)


def test_the_reasons_have_their_shares_and_only_late_lines_are_called_late(
    returns: pd.DataFrame, delivered: pd.DataFrame
) -> None:
    is_late = delivered.loc[returns.order_item_id, "is_late"].to_numpy()
    for_delay = returns.reason == "arrived_late"
    assert is_late[for_delay].all()
    assert for_delay[is_late].mean() == pytest.approx(RETURNS.late_reason_share, abs=0.12)
    others = returns.reason[~for_delay].value_counts(normalize=True)
    assert set(others.index) == set(RETURNS.reasons)
    for reason, share in RETURNS.reasons.items():
        error = np.sqrt(share * (1 - share) / (~for_delay).sum())
        assert others[reason] == pytest.approx(share, abs=4 * error)


def test_the_daily_totals_are_those_of_the_file(
    returns: pd.DataFrame, delivered: pd.DataFrame, two_years: Generation
) -> None:
    date = "2025-12-20"
    number = (pd.Timestamp(date).date() - two_years.opening).days
    totals = Shop(42, two_years.opening).returns.totals(number)
    rows = returns[returns.file_date == date]
    assert len(rows) > 3
    assert totals["quantity"] == rows.quantity.sum()
    assert totals["refund_cents"] == cents(rows.refund_amount).sum()
    category = delivered.loc[rows.order_item_id, "category"]
    for name in RETURNS.rates:
        assert totals[f"category_{name}"] == (category == name).sum()
    for name in (*RETURNS.reasons, "arrived_late"):
        assert totals[f"reason_{name}"] == (rows.reason == name).sum()
