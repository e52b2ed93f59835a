"""Stock: what is there follows from what came and what was sold, and what is not there is not sold."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from shop_simulator import Behaviour, Generation, Shop
from tests.unit.generation.conftest import read_all


@pytest.fixture(scope="module")
def stock(two_years: Generation) -> pd.DataFrame:
    frame = read_all(two_years.out, "inventory")
    for column in ("on_hand", "received", "sold"):
        frame[column] = frame[column].astype("int64")
    return frame.sort_values(["product_id", "snapshot_date"], ignore_index=True)


def test_every_product_on_sale_has_one_row_a_day(stock: pd.DataFrame, products: pd.DataFrame) -> None:
    assert (stock.snapshot_date == stock.file_date).all()
    assert not stock.duplicated(["product_id", "snapshot_date"]).any()
    state = products.sort_values("updated_at").groupby("product_id")
    first = state.created_date.first()
    ended = products[products.is_active == "false"].set_index("product_id").file_date
    dates = pd.Series(sorted(stock.snapshot_date.unique()))
    expected = 0
    for product, created in first.items():
        end = ended.get(product, "9999-12-31")
        expected += ((dates >= created) & (dates < end)).sum()
    assert len(stock) == expected


def test_within_a_month_stock_is_what_was_there_and_what_came_less_what_was_sold(stock: pd.DataFrame) -> None:
    assert (stock[["on_hand", "received", "sold"]] >= 0).all(axis=None)
    before = stock.groupby(["product_id", stock.snapshot_date.str[:7]]).on_hand.shift()
    known = before.notna()
    assert (stock.on_hand == before + stock.received - stock.sold)[known].all()
    assert known.mean() > 0.95
    # Counting anew at a month's start gives something else than what the month before left.
    carried = stock.groupby("product_id").on_hand.shift() + stock.received - stock.sold
    is_start = stock.snapshot_date.str.endswith("-01") & carried.notna()
    assert (stock.on_hand != carried)[is_start].mean() > 0.5


def test_what_was_sold_is_what_was_ordered(stock: pd.DataFrame, items: pd.DataFrame) -> None:
    ordered = items.quantity.astype("int64").groupby([items.product_id, items.file_date]).sum()
    sold = stock.set_index(["product_id", "snapshot_date"]).sold
    assert (ordered == sold.loc[ordered.index]).all()
    assert ordered.sum() == sold.sum()


def test_a_few_per_cent_of_product_days_are_sold_out_and_nothing_is_sold_then(stock: pd.DataFrame) -> None:
    month = stock.snapshot_date.str[:7]
    opening = stock.groupby(["product_id", month]).on_hand.shift()
    is_out = opening == 0
    assert 0.01 < is_out.mean() < 0.06
    assert (stock.sold[is_out] == 0).all()
    # It comes again, and is sold again.
    later = stock.groupby(["product_id", month]).sold.shift(-12)
    assert later[is_out].sum() > 0


def test_the_truth_counts_what_is_sold_out(stock: pd.DataFrame, two_years: Generation) -> None:
    shop = Shop(42, two_years.opening)
    for date in ("2024-02-29", "2025-08-17"):
        number = (pd.Timestamp(date).date() - two_years.opening).days
        totals, rows = shop.stock.totals(number), stock[stock.snapshot_date == date]
        assert totals["sold_out"] == (rows.on_hand + rows.sold - rows.received == 0).sum()
        for column in ("on_hand", "received", "sold"):
            assert totals[column] == rows[column].sum()


def test_unlimited_stock_takes_nothing_off_the_offer(two_years: Generation) -> None:
    known = Behaviour()
    limited = Shop(42, two_years.opening)
    unlimited = Shop(
        42, two_years.opening, behaviour=replace(known, stock=replace(known.stock, is_limited=False))
    )
    day = 200
    out = limited.stock.sold_out(day)
    assert len(out) > 0
    sold = np.concatenate([unlimited.orders.lines(number).product for number in range(day, day + 20)])
    assert np.isin(sold, out).any()
    assert unlimited.stock.totals(day)["sold_out"] == 0
    assert (unlimited.stock.of(day).on_hand >= 0).all()
