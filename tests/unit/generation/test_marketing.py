"""Spend and what it brings: impressions, clicks, registrations, and the customers' channels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shop_simulator import Behaviour, Generation, Shop
from tests.unit.generation.conftest import read_all

SOURCES = Behaviour().marketing.sources


@pytest.fixture(scope="module")
def spend(two_years: Generation) -> pd.DataFrame:
    frame = read_all(two_years.out, "marketing_spend")
    for column in ("impressions", "clicks"):
        frame[column] = frame[column].astype("int64")
    return frame


def test_each_campaign_that_runs_has_one_row_a_day(spend: pd.DataFrame) -> None:
    assert (spend.spend_date == spend.file_date).all()
    assert not spend.duplicated(["spend_date", "channel", "campaign"]).any()
    months = spend.spend_date.str[5:7].astype(int)
    for source in SOURCES:
        rows = (spend.channel == source.channel) & (spend.campaign == source.campaign)
        expected = spend.spend_date[months.isin(source.months)].nunique() if source.is_paid else 0
        assert rows.sum() == expected
        assert months[rows].isin(source.months).all()


def test_clicks_come_from_impressions_and_cost_money(spend: pd.DataFrame) -> None:
    assert (spend.clicks <= spend.impressions).all()
    amount = spend.spend.astype(float)
    assert ((amount > 0) == (spend.clicks > 0)).all()
    for source in (source for source in SOURCES if source.is_paid):
        rows = spend[(spend.channel == source.channel) & (spend.campaign == source.campaign)]
        impressions, clicks = rows.impressions.sum(), rows.clicks.sum()
        error = np.sqrt(source.click_rate * (1 - source.click_rate) / impressions)
        assert clicks / impressions == pytest.approx(source.click_rate, abs=4 * error)
        assert amount[rows.index].sum() / clicks == pytest.approx(source.click_cost / 100, rel=0.03)


def test_the_conversion_of_each_paid_channel_is_recovered_from_the_files(
    spend: pd.DataFrame, customers: pd.DataFrame
) -> None:
    """Within four standard errors of the registrations that the campaigns' clicks and rates let expect."""
    new = customers.drop_duplicates("customer_id")
    registrations = new.groupby("acquisition_channel").size()
    for channel in {source.channel for source in SOURCES if source.is_paid}:
        expected = variance = 0.0
        for source in (source for source in SOURCES if source.channel == channel):
            clicks = spend.clicks[(spend.channel == channel) & (spend.campaign == source.campaign)].sum()
            expected += clicks * source.conversion
            variance += clicks * source.conversion * (1 - source.conversion)
        assert abs(registrations[channel] - expected) < 4 * np.sqrt(variance)
        assert np.sqrt(variance) / expected < 0.06  # so the statement above says something


def test_a_days_new_customers_are_those_its_clicks_brought(
    spend: pd.DataFrame, customers: pd.DataFrame, two_years: Generation
) -> None:
    marketing = Shop(42, two_years.opening).marketing
    new = customers.drop_duplicates("customer_id")
    found = new.groupby(["registration_date", "acquisition_channel"]).size()
    for number in (0, 1, 255, 256, 700):
        date = str(two_years.opening + pd.Timedelta(days=number))[:10]
        expected: dict[str, int] = {}
        for source, count in zip(SOURCES, marketing.reach(number).registrations, strict=True):
            expected[source.channel] = expected.get(source.channel, 0) + int(count)
        assert found[date].to_dict() == {channel: count for channel, count in expected.items() if count}


def test_the_channel_says_nothing_about_the_order_of_registration(customers: pd.DataFrame) -> None:
    new = customers.drop_duplicates("customer_id").sort_values("customer_id")
    by_day = new.groupby("registration_date").customer_id
    place = (by_day.cumcount() + 0.5) / by_day.transform("size")
    for _, places in place.groupby(new.acquisition_channel):
        assert places.mean() == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / len(places)))


def test_the_truth_adds_up_to_the_files(
    spend: pd.DataFrame, customers: pd.DataFrame, two_years: Generation
) -> None:
    marketing = Shop(42, two_years.opening).marketing
    truth = pd.DataFrame(marketing.truth(two_years.days - 1))
    paid = truth[truth.campaign != ""].set_index(["channel", "campaign"]).sort_index()
    files = spend.groupby(["channel", "campaign"])[["impressions", "clicks"]].sum()
    assert (files == paid[["impressions", "clicks"]]).all(axis=None)
    new = customers.drop_duplicates("customer_id")
    assert truth.groupby("channel").registrations.sum().to_dict() == (
        new.acquisition_channel.value_counts().to_dict()
    )


def test_a_campaign_or_rate_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    from shop_simulator.behaviour import read_behaviour

    path = tmp_path / "behaviour.json"
    path.write_text('{"marketing": {"reach_noise": 1.5}}')
    with pytest.raises(ValueError, match=r"behaviour.json.*marketing: reach_noise must be a share"):
        read_behaviour(path)
