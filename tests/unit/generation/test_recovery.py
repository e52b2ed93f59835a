"""The simulator is what it claims: estimators find its parameters again in the files it wrote.

A tolerance is four standard errors of the estimate; beside it stands how small the standard error has to be,
so that a test with too little data would fail, not pass. Seeds are fixed, so nothing here is left to
chance. What would blur a parameter is switched off, and only that.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import poisson

import shop_simulator
from shop_simulator import Behaviour, Generation, Shop
from shop_simulator.behaviour import Affinity, Calendar, Prices, Segment, Spend
from shop_simulator.operations import StockBehaviour
from tests.support import estimators
from tests.unit.generation.conftest import read_all

OPENING = date(2024, 2, 1)
DEFAULT = Behaviour()
STILL = replace(  # no seasons, no sold out products, nothing that differs between segments
    DEFAULT,
    calendar=Calendar(has_seasons=False, has_weekdays=False, has_holidays=False),
    segments={name: Segment() for name in DEFAULT.segments},
    stock=StockBehaviour(is_limited=False),
)
FREE = replace(  # baskets by popularity alone
    STILL, spend=Spend(is_modelled=False), affinity=Affinity(pairs=0)
)


def made(out: Path, days: int, entities: list[str], scale: float, seed: int, behaviour: Behaviour) -> None:
    last = OPENING + timedelta(days=days - 1)
    shop_simulator.generate(
        out, first=OPENING, last=last, scale=scale, seed=seed, entities=entities, behaviour=behaviour
    )


def placed_orders(out: Path) -> pd.DataFrame:
    """Customers' orders, once each, with the goods' value in dollars and weeks since the opening."""
    orders = read_all(out, "orders").drop_duplicates("order_id")
    orders = orders[orders.customer_id != ""]
    amount = {name: orders[name].astype(float) for name in ("total_amount", "shipping_cost", "tax_amount")}
    since = pd.to_datetime(orders.created_at) - pd.Timestamp(OPENING)
    return orders.assign(
        goods=amount["total_amount"] - amount["shipping_cost"] - amount["tax_amount"],
        week=since.dt.total_seconds() / (7 * 86_400),
    )


@pytest.fixture(scope="module")
def quiet_orders(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Two years of orders with nothing that would blur the models."""
    return make_quiet_orders(tmp_path_factory.mktemp("quiet"), scale=4, seed=11)


def make_quiet_orders(out: Path, scale: float, seed: int) -> pd.DataFrame:
    made(out, 730, ["orders"], scale, seed, replace(STILL, affinity=Affinity(pairs=0)))
    return placed_orders(out)


def check_buying_and_spending(orders: pd.DataFrame, largest_error: float) -> None:
    """The parameters found are those of the settings; errors are shares of the truth."""
    customers = orders.groupby("customer_id")
    first, last = customers.week.min(), customers.week.max()
    count = customers.size().to_numpy().astype(float)

    buying = DEFAULT.buying
    truth = [buying.r, buying.alpha, buying.a, buying.b]
    found = estimators.bg_nbd(count - 1, (last - first).to_numpy(), (730 / 7 - first).to_numpy())
    assert np.abs(found.deviations(truth)).max() < 4
    assert (found.errors / truth).max() < largest_error

    spend = DEFAULT.spend
    # The last line meets what is left of the budget up to 7 %: an order's value errs by 3 %, which takes
    # half a percent off p.
    truth = [spend.p / (1 + spend.p * 0.03**2), spend.q, spend.gamma * spend.scale]
    found = estimators.gamma_gamma(count, customers.goods.mean().to_numpy())
    assert np.abs(found.deviations(truth)).max() < 4
    assert (found.errors / truth).max() < largest_error


def test_bg_nbd_and_gamma_gamma_are_found_in_the_orders(quiet_orders: pd.DataFrame) -> None:
    check_buying_and_spending(quiet_orders, 0.08)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bg_nbd_and_gamma_gamma_are_found_in_many_orders(seed: int, tmp_path: Path) -> None:
    check_buying_and_spending(make_quiet_orders(tmp_path, scale=12, seed=seed), 0.05)


def test_spending_does_not_depend_on_how_often_somebody_buys(quiet_orders: pd.DataFrame) -> None:
    goods = quiet_orders.groupby("customer_id").goods
    once, often = (goods.mean()[is_so] for is_so in (goods.size() == 1, goods.size() > 1))
    error = (once.var() / len(once) + often.var() / len(often)) ** 0.5
    assert abs(once.mean() - often.mean()) < 4 * error
    assert error < 0.02 * once.mean()


def test_seasons_move_purchases_and_make_no_more_of_them(tmp_path: Path) -> None:
    sums = []
    for number, behaviour in enumerate([STILL, replace(STILL, calendar=Calendar())]):
        shop = Shop(5, OPENING, 4, behaviour)
        orders = [len(shop.demand.buyers(day).customer) for day in range(730)]
        sums.append((sum(orders), sum(orders[365 - 90 : 365 - 29])))  # all, and November and December
        assert shop.customers.count(729) == pytest.approx(4 * 8_400, rel=0.05), number
    (still, still_winter), (seasonal, seasonal_winter) = sums
    assert seasonal == pytest.approx(still, rel=0.06)
    assert seasonal_winter > 1.2 * still_winter


def first_lines(out: Path) -> pd.DataFrame:
    """The lines that were put into a basket first: no other line of the order narrowed the choice."""
    items = read_all(out, "order_items")
    return items[items.order_item_id.str.endswith("-1")]


@pytest.mark.parametrize("exponent", [0.8, 1.1])
def test_the_zipf_exponent_is_found_in_the_lines(exponent: float, tmp_path: Path) -> None:
    behaviour = replace(
        FREE,
        popularity=replace(FREE.popularity, zipf_exponent=exponent),
        prices=replace(FREE.prices, has_changes=False),
    )
    days = 30  # none of the opening's products ends before
    made(tmp_path, days, ["order_items"], 60, 21, behaviour)
    sold = first_lines(tmp_path).groupby("product_id").size()
    known = Shop(21, OPENING, 60, behaviour).catalogue.truth(0)["products"]  # by rank of popularity
    ranks = np.array([product["rank"] for product in known.values()])
    counts = sold.reindex(list(known), fill_value=0).to_numpy().astype(float)
    found = estimators.zipf(counts, ranks)
    assert abs(found.deviations([exponent])[0]) < 4
    assert found.errors[0] < 0.02


@pytest.mark.parametrize(
    ("scale", "elasticity", "largest_error"),
    [
        pytest.param(8, {"Electronics": 3.0, "Clothing": 0.0}, 0.35),
        pytest.param(50, {}, 0.3, marks=pytest.mark.slow),
    ],
)
def test_elasticities_are_found_in_sales_and_prices(
    scale: float, elasticity: Mapping[str, float], largest_error: float, tmp_path: Path
) -> None:
    truth = {**DEFAULT.prices.elasticity, **elasticity}
    behaviour = replace(FREE, prices=Prices(elasticity=truth))
    days = 400
    made(tmp_path, days, ["products", "order_items"], scale, 31, behaviour)
    versions = read_all(tmp_path, "products")
    lines = first_lines(tmp_path)
    dates = [(OPENING + timedelta(days=day)).isoformat() for day in range(days)]

    def by_day(column: pd.Series) -> pd.DataFrame:
        frame = pd.DataFrame({"id": versions.product_id, "day": versions.file_date, "value": column})
        return frame.pivot(index="id", columns="day", values="value").reindex(columns=dates).ffill(axis=1)

    price = by_day(np.log(versions.price.astype(float)))
    price = price.where(by_day((versions.is_active == "true").astype(float)) == 1)
    sales = lines.groupby(["product_id", "file_date"]).size().unstack(fill_value=0)
    sales = sales.reindex(index=price.index, columns=dates, fill_value=0)
    sold = sales.sum(axis=1) > 0
    category = versions.groupby("product_id").category.first().reindex(price.index)
    names = sorted(truth)
    group = category[sold].map(names.index).to_numpy()
    found = estimators.elasticities(sales[sold].to_numpy().astype(float), price[sold].to_numpy(), group)
    deviations = dict(zip(names, found.deviations([truth[name] for name in names]), strict=True))
    assert max(map(abs, deviations.values())) < 4, deviations
    errors = dict(zip(names, found.errors, strict=True))
    assert max(errors[name] for name in (elasticity or names)) < largest_error


def bought_together(items: pd.DataFrame) -> pd.DataFrame:
    """By pair of products: in how many orders both are, and in how many they would be by chance."""
    sold = items.groupby("product_id").size()
    lines = items[["order_id", "product_id"]]
    both = lines.merge(lines, on="order_id")
    both = both[both.product_id_x < both.product_id_y]
    pairs = both.groupby(["product_id_x", "product_id_y"]).size().rename("together").to_frame()
    one, other = (pairs.index.get_level_values(level).map(sold) for level in (0, 1))
    return pairs.assign(chance=one * other / items.order_id.nunique())


def planted(shop: Shop) -> set[tuple[str, ...]]:
    pairs = shop.catalogue.truth(0)["pairs"]
    assert len(pairs) == shop.behaviour.affinity.pairs
    return {tuple(sorted((pair["product"], pair["partner"]))) for pair in pairs}


def test_the_planted_pairs_have_a_lift_and_no_others(tmp_path: Path) -> None:
    behaviour = replace(FREE, affinity=DEFAULT.affinity, prices=replace(FREE.prices, has_changes=False))
    made(tmp_path, 400, ["order_items"], 6, 51, behaviour)
    items = read_all(tmp_path, "order_items")
    shop = Shop(51, OPENING, 6, behaviour)
    pairs = bought_together(items)
    # Of products sold all the time: what was there for a while only is bought with what was there then.
    days = items.groupby("product_id").file_date
    lasting = set(days.min().index[(days.min() < "2024-03-10") & (days.max() > "2025-01-25")])
    pairs = pairs[(pairs.chance > 3) & np.array([lasting.issuperset(key) for key in pairs.index])]
    is_planted = pairs.index.isin(planted(shop))
    lift = pairs.together / pairs.chance
    assert is_planted.sum() == DEFAULT.affinity.pairs
    assert lift[is_planted].min() > 4
    others = pairs[~is_planted]
    as_much_by_chance = poisson.sf(others.together - 1, others.chance)
    assert as_much_by_chance.min() * len(others) > 0.001
    assert lift[~is_planted].mean() == pytest.approx(1, abs=0.1)
    orders, sold = items.order_id.nunique(), items.groupby("product_id").order_id.agg(set)
    for pair in shop.catalogue.truth(0)["pairs"]:
        having, got = sold[pair["product"]], sold[pair["partner"]]
        # Planted, or else there by itself, as in the other orders.
        alone = len(got - having) / (orders - len(having))
        expected = pair["probability"] + (1 - pair["probability"]) * alone
        error = (expected * (1 - expected) / len(having)) ** 0.5
        assert abs(len(having & got) / len(having) - expected) < 4 * error
        assert error < 0.03


def test_the_planted_pairs_stand_out_in_the_whole_shop(two_years: Generation, items: pd.DataFrame) -> None:
    # Budgets, too, bring products of some prices together; the planted pairs stand out all the same.
    pairs = bought_together(items)
    surest = ((pairs.together - pairs.chance) / pairs.chance**0.5)[pairs.together >= 30]
    assert set(surest.nlargest(DEFAULT.affinity.pairs).index) == planted(Shop(42, two_years.opening))


def test_delays_are_those_of_method_and_country(orders: pd.DataFrame, customers: pd.DataFrame) -> None:
    country = customers.groupby("customer_id").country.first()
    delivered = orders[(orders.order_status == "delivered") & (orders.customer_id != "")]
    country = delivered.customer_id.map(country)
    shipped, arrived = (pd.to_datetime(delivered[name]) for name in ("shipped_at", "delivered_at"))
    hours = (arrived - shipped).dt.total_seconds() / 3600
    shipping = DEFAULT.shipping
    for name, method in shipping.methods.items():
        for code, more in shipping.country_hours.items():
            seen = hours[(delivered.shipping_method == name) & (country == code)]
            least = method.least_hours + (0 if name == "pickup" else more)
            assert seen.between(least, least + method.spread_hours).all()
            if len(seen) > 30:
                error = method.spread_hours / 12**0.5 / len(seen) ** 0.5
                assert abs(seen.mean() - least - method.spread_hours / 2) < 4 * error + 0.01
    shares = delivered.shipping_method.value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx(
        {name: method.share for name, method in shipping.methods.items()}, abs=0.015
    )


def test_segments_differ_in_discounts_and_in_what_they_spend(tmp_path: Path) -> None:
    made(tmp_path, 120, ["customers", "orders", "order_items"], 20, 41, DEFAULT)
    orders = placed_orders(tmp_path)
    segment = read_all(tmp_path, "customers").drop_duplicates("customer_id", keep=False)
    segment = segment.set_index("customer_id").customer_segment  # of those who never changed
    items = read_all(tmp_path, "order_items").merge(orders[["order_id", "customer_id"]], on="order_id")
    is_discounted = items.discount_amount != "0.00"
    known = orders[orders.customer_id.isin(segment.index)]
    overall = known.goods.mean() / np.mean(
        [DEFAULT.segments[name].spend_factor for name in known.customer_id.map(segment)]
    )
    for name, expected in DEFAULT.segments.items():
        share = is_discounted[items.customer_id.map(segment) == name]
        error = (expected.discount_share * (1 - expected.discount_share) / len(share)) ** 0.5
        assert abs(share.mean() - expected.discount_share) < 4 * error + 0.004  # of a cent-sized discount
        goods = known.goods[known.customer_id.map(segment) == name]
        # Orders of one customer are alike, so the error is a multiple of that of independent ones.
        error = 2 * goods.std() / len(goods) ** 0.5
        assert abs(goods.mean() - expected.spend_factor * overall) < 4 * error
