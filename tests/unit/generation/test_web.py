"""Web events: sessions that walk the funnel, sampled evenly, tied to orders, customers and channels."""

import ipaddress
import itertools

import numpy as np
import pandas as pd
import pytest

from shop_simulator import Behaviour, Generation, Shop
from shop_simulator.web import EVENT_TYPES, landing_page
from tests.unit.generation.conftest import read_all

WEB = Behaviour().web
STEPS = ("product_view", "add_to_cart", "checkout", "purchase")


@pytest.fixture(scope="module")
def events(two_years: Generation) -> pd.DataFrame:
    return read_all(two_years.out, "web_events")


@pytest.fixture(scope="module")
def sessions(events: pd.DataFrame) -> pd.DataFrame:
    """A row per session: what its first event says, how many events of each type, and the order bought."""
    first = events.groupby("session_id", sort=False).first()
    counts = pd.crosstab(events.session_id, events.event_type)
    bought = events[events.event_type == "purchase"].set_index("session_id").page_url
    order = bought.str.extract(r"\?order=(O\d{8}-\d{7})$")[0]
    return first.join(counts).assign(order=order)


def test_events_are_of_their_day_in_the_order_of_each_session(events: pd.DataFrame) -> None:
    assert events.event_id.str.fullmatch(r"EV\d{17}").all()
    assert events.event_id.is_unique
    assert (events.event_timestamp.str[:10] == events.file_date).all()
    assert set(events.event_type) == set(EVENT_TYPES)
    time = pd.to_datetime(events.event_timestamp)
    assert (time.groupby(events.session_id).diff().dropna() >= pd.Timedelta(0)).all()
    same = ["customer_id", "user_agent", "ip_address", "device_type", "country", "city", "file_date"]
    assert (events.groupby("session_id")[same].nunique() == 1).all(axis=None)


def test_there_are_about_five_events_per_order_line(events: pd.DataFrame, items: pd.DataFrame) -> None:
    assert len(events) / len(items) == pytest.approx(5, rel=0.1)


def test_a_sampled_orders_session_ends_with_its_purchase(
    sessions: pd.DataFrame, events: pd.DataFrame, orders: pd.DataFrame, items: pd.DataFrame
) -> None:
    placed = orders.drop_duplicates("order_id").set_index("order_id")
    buying = sessions[sessions.purchase > 0]
    assert (buying.purchase == 1).all() and buying.order.is_unique
    assert buying.order.isin(placed.index).all()
    last = events.groupby("session_id", sort=False).last().loc[buying.index]
    assert (last.event_type == "purchase").all()
    assert (last.event_timestamp.to_numpy() == placed.loc[buying.order, "created_at"].to_numpy()).all()
    assert (buying.customer_id.to_numpy() == placed.loc[buying.order, "customer_id"].to_numpy()).all()
    carted = events[(events.event_type == "add_to_cart") & events.session_id.isin(buying.index)]
    pairs = set(zip(carted.session_id.map(buying.order), carted.product_id, strict=True))
    lines = items[items.order_id.isin(buying.order)]
    assert pairs == set(zip(lines.order_id, lines.product_id, strict=True))
    rate = WEB.sampling_rate
    error = np.sqrt(rate * (1 - rate) / len(placed))
    assert len(buying) / len(placed) == pytest.approx(rate, abs=4 * error)


def test_events_name_known_customers_and_products_on_sale(
    events: pd.DataFrame, customers: pd.DataFrame, products: pd.DataFrame
) -> None:
    known = events[events.customer_id != ""]
    registered = customers.groupby("customer_id").registration_date.first()
    assert (registered.loc[known.customer_id].to_numpy() <= known.file_date.to_numpy()).all()
    has_product = events.event_type.isin(["product_view", "add_to_cart"])
    assert ((events.product_id != "") == has_product).all()
    viewed = events[has_product]
    created = products.groupby("product_id").created_date.first()
    assert (created.loc[viewed.product_id].to_numpy() <= viewed.file_date.to_numpy()).all()
    ended = products[products.is_active == "false"].set_index("product_id").file_date
    end = viewed.product_id.map(ended).fillna("9999-12-31")
    assert (viewed.file_date.to_numpy() < end.to_numpy()).all()
    assert (viewed.page_url.str[-9:] == viewed.product_id).all()
    # What is put into the cart was looked at before.
    views = set(zip(viewed.session_id, viewed.product_id, viewed.event_type, strict=True))
    assert {(s, p, "product_view") for s, p, kind in views if kind == "add_to_cart"} <= views


def test_the_funnel_of_each_device_is_recovered_from_the_sample(sessions: pd.DataFrame) -> None:
    """Within four standard errors, of which the widest is told apart by its size."""
    for device, funnel in WEB.devices.items():
        reached = sessions[sessions.device_type == device]
        for step, rate in zip(STEPS, funnel.steps, strict=True):
            error = np.sqrt(rate * (1 - rate) / len(reached))
            assert error < 0.06
            is_next = reached[step] > 0
            assert is_next.mean() == pytest.approx(rate, abs=4 * error), (device, step)
            reached = reached[is_next]
    share = sessions.device_type.value_counts(normalize=True)
    for device, funnel in WEB.devices.items():
        # Orders choose their device and the sessions without one follow, so chance weighs more.
        assert share[device] == pytest.approx(funnel.session_share, rel=0.15)


def test_no_step_of_the_funnel_is_skipped(sessions: pd.DataFrame) -> None:
    assert (sessions.page_view > 0).all()
    for before, after in itertools.pairwise(STEPS):
        assert (sessions[before][sessions[after] > 0] > 0).all()
    assert (sessions.add_to_cart <= sessions.product_view).all()


def test_landing_pages_name_channel_and_campaign_as_often_as_they_were_clicked(
    sessions: pd.DataFrame, events: pd.DataFrame, two_years: Generation
) -> None:
    marketing = Shop(42, two_years.opening).marketing
    truth = marketing.truth(two_years.days - 1)
    for source, figures in zip(marketing.sources, truth, strict=True):
        if source.is_paid:
            sampled = (sessions.page_url == landing_page(source)).sum()
            expected = WEB.sampling_rate * figures["clicks"]
            assert sampled == pytest.approx(expected, abs=5 * np.sqrt(expected)), source
    is_later = events.session_id.duplicated()
    assert not events.page_url[is_later].str.contains("utm_").any()
    assert (events.referrer[is_later] == "https://shop.example.com/").all()
    assert (events.referrer[~is_later] != "https://shop.example.com/").all()


def test_customers_who_register_and_buy_come_by_their_channel(
    sessions: pd.DataFrame, customers: pd.DataFrame
) -> None:
    new = customers.drop_duplicates("customer_id").set_index("customer_id")
    buying = sessions[(sessions.purchase > 0) & (sessions.customer_id != "")]
    registered = new.loc[buying.customer_id]
    is_first_day = registered.registration_date.to_numpy() == buying.file_date.to_numpy()
    medium = buying.page_url.str.extract("utm_medium=([a-z_]+)")[0]
    channel = registered.acquisition_channel.set_axis(buying.index)
    is_unpaid = channel.isin(["organic_search", "direct"])
    assert (medium[is_first_day & ~is_unpaid] == channel[is_first_day & ~is_unpaid]).all()
    assert medium[is_unpaid | ~is_first_day].isna().all()


def test_addresses_are_those_kept_for_documentation_and_places_those_of_the_customer(
    sessions: pd.DataFrame, customers: pd.DataFrame
) -> None:
    networks = [
        ipaddress.ip_network(text)
        for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
    ]
    used = dict.fromkeys(networks, 0)
    for address in sessions.ip_address.drop_duplicates().map(ipaddress.ip_address):
        (network,) = [network for network in networks if address in network]
        used[network] += 1
    assert min(used.values()) > 100
    known = sessions[sessions.customer_id != ""]
    versions = customers.sort_values("file_date")[["customer_id", "file_date", "city", "country"]]
    at = pd.merge_asof(
        known.assign(at=pd.to_datetime(known.file_date)).sort_values("at"),
        versions.assign(at=pd.to_datetime(versions.file_date)),
        on="at",
        by="customer_id",
        suffixes=("", "_known"),
    )
    assert (at.country == at.country_known).all()
    assert (at.city == at.city_known)[at.city != ""].all()
    assert (sessions.city == "").mean() == pytest.approx(WEB.city_unknown_share, abs=0.01)
    assert sessions.country.str.fullmatch("[A-Z]{2}").all()
    assert (
        sessions.user_agent.str.contains("iPhone|Mobile Safari") == (sessions.device_type == "mobile")
    ).all()


def test_the_daily_totals_count_the_sample_and_estimate_from_all(
    sessions: pd.DataFrame, events: pd.DataFrame, orders: pd.DataFrame, two_years: Generation
) -> None:
    shop = Shop(42, two_years.opening)
    date = "2025-11-29"
    totals = shop.web.totals((pd.Timestamp(date).date() - two_years.opening).days)
    rows, of_day = events[events.file_date == date], sessions[sessions.file_date == date]
    for kind in EVENT_TYPES:
        assert totals[kind] == (rows.event_type == kind).sum()
    for device in WEB.devices:
        mine = of_day[of_day.device_type == device]
        assert totals[f"sampled_{device}_sessions"] == len(mine)
        for step in STEPS:
            assert totals[f"sampled_{device}_{step}"] == (mine[step] > 0).sum()
            assert totals[f"all_{device}_{step}"] >= totals[f"sampled_{device}_{step}"]
    placed = orders[(orders.order_date == date) & (orders.file_date == date)]
    assert sum(totals[f"all_{device}_purchase"] for device in WEB.devices) == len(placed)
