"""Payments: every order is paid once, after at most three failures, and paid back when it is cancelled."""

import numpy as np
import pandas as pd
import pytest

from shop_simulator import Behaviour, Generation, Shop
from shop_simulator.payments import MOST_FAILURES
from tests.unit.generation.conftest import read_all

PAYMENTS = Behaviour().payments


@pytest.fixture(scope="module")
def payments(two_years: Generation) -> pd.DataFrame:
    frame = read_all(two_years.out, "payments")
    return frame.assign(cents=frame.amount.str.replace(".", "", regex=False).astype("int64"))


@pytest.fixture(scope="module")
def final(orders: pd.DataFrame) -> pd.DataFrame:
    """Each order as it stands in the end."""
    last = orders.groupby("order_id").last()
    return last.assign(cents=last.total_amount.str.replace(".", "", regex=False).astype("int64"))


def test_payments_belong_to_orders_and_to_the_day_of_their_file(
    payments: pd.DataFrame, final: pd.DataFrame
) -> None:
    assert payments.payment_id.str.fullmatch(r"PM\d{16}").all()
    assert payments.payment_id.is_unique
    assert (payments.paid_at.str[:10] == payments.file_date).all()
    orders = final.loc[payments.order_id]
    assert (payments.method.to_numpy() == orders.payment_method.to_numpy()).all()
    assert (payments.cents.to_numpy() == orders.cents.to_numpy()).all()
    assert (payments.paid_at.to_numpy() > orders.created_at.to_numpy()).all()


def test_what_is_captured_is_what_was_ordered(payments: pd.DataFrame, final: pd.DataFrame) -> None:
    """Once per order, and never less often than it was shipped."""
    captured = payments[payments.status == "captured"]
    assert captured.order_id.is_unique
    unpaid = final[~final.index.isin(captured.order_id)]
    last_hours = unpaid.created_at >= "2026-01-31 12:00:00"
    assert (unpaid.order_status[~last_hours] == "cancelled").all()
    assert (unpaid.order_status[last_hours].isin(["pending", "cancelled"])).all()
    assert captured.cents.sum() == final.cents.sum() - unpaid.cents.sum()


def test_processing_waits_for_the_money(payments: pd.DataFrame, orders: pd.DataFrame) -> None:
    captured = payments[payments.status == "captured"].set_index("order_id").paid_at
    started = orders[orders.order_status == "processing"].set_index("order_id").updated_at
    assert (captured.loc[started.index] < started).all()


def test_failures_come_before_the_capture_minutes_to_hours_apart(payments: pd.DataFrame) -> None:
    attempts = payments[payments.status != "refunded"].sort_values(["order_id", "payment_id"])
    assert attempts.payment_id.str[-1].astype(int).max() == MOST_FAILURES + 1
    assert (attempts.groupby("order_id").cumcount() + 1 == attempts.payment_id.str[-1].astype(int)).all()
    is_last = ~attempts.order_id.duplicated(keep="last")
    assert (attempts.status[~is_last] == "failed").all()
    gap = pd.to_datetime(attempts.paid_at).groupby(attempts.order_id).diff().dropna().dt.total_seconds()
    assert gap.min() >= 60 and gap.max() < 12 * 3600
    assert gap.median() > 600


def test_an_order_cancelled_after_its_capture_is_paid_back(
    payments: pd.DataFrame, final: pd.DataFrame
) -> None:
    refunded = payments[payments.status == "refunded"].set_index("order_id")
    assert refunded.index.is_unique
    cancelled = final[final.order_status == "cancelled"]
    assert refunded.index.isin(cancelled.index).all()
    wait = pd.to_datetime(refunded.paid_at) - pd.to_datetime(cancelled.updated_at.loc[refunded.index])
    assert wait.min() >= pd.Timedelta(minutes=10)
    assert wait.max() < pd.Timedelta(hours=PAYMENTS.refund_hours)
    captured = payments.order_id[payments.status == "captured"]
    due = cancelled[cancelled.index.isin(captured) & (cancelled.updated_at < "2026-01-28")]
    assert due.index.isin(refunded.index).all()


def test_the_failure_rate_of_each_method_is_recovered_from_the_first_attempts(payments: pd.DataFrame) -> None:
    """Within four standard errors."""
    first = payments[payments.payment_id.str[-1] == "1"]
    for method, rate in PAYMENTS.failure_rates.items():
        failed = first.status[first.method == method] == "failed"
        assert failed.mean() == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / len(failed)))


def test_the_daily_totals_are_those_of_the_files(payments: pd.DataFrame, two_years: Generation) -> None:
    shop = Shop(42, two_years.opening)
    for number in (0, 400):
        date = str(two_years.opening + pd.Timedelta(days=number))[:10]
        rows = payments[payments.file_date == date]
        totals = shop.payments.totals(number)
        for status in ("captured", "failed", "refunded"):
            assert totals[status] == (rows.status == status).sum()
            assert totals[f"{status}_cents"] == rows.cents[rows.status == status].sum()
        for method in PAYMENTS.failure_rates:
            failed = (rows.method == method) & (rows.status == "failed")
            assert totals[f"failed_{method}"] == failed.sum()
