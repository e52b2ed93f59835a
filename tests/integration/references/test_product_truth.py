"""Product marts scored against what the simulated shop was made of: planted pairs, elasticities."""

from __future__ import annotations

import numpy as np
import pytest

from shop_simulator import Shop
from tests.support.reference import FIRST, BuiltWarehouse


@pytest.fixture(scope="module")
def shop() -> Shop:
    """The simulated shop of the references."""
    return Shop(42, FIRST, 0.3)


def test_strong_pairs_are_the_planted_ones(built_shops: BuiltWarehouse, shop: Shop) -> None:
    planted = {
        frozenset((pair["product"], pair["partner"])) for pair in shop.catalogue.truth(0)["pairs"]
    }  # fmt: skip
    mart = built_shops.frame("product_affinity", source="ecommerce")
    strong = mart[mart["is_strong"]]
    found = {frozenset(pair) for pair in zip(strong["product_id"], strong["partner_id"], strict=True)}

    right = len(found & planted)
    print(f"planted {len(planted)}, found {len(found)}, right {right}")
    assert len(planted) >= 5
    assert right / len(found) >= 0.9
    assert right / len(planted) >= 0.9


def test_the_best_partner_of_a_planted_product_is_its_own(built_shops: BuiltWarehouse, shop: Shop) -> None:
    mart = built_shops.frame("product_affinity", source="ecommerce").set_index(["product_id", "partner_id"])
    for pair in shop.catalogue.truth(0)["pairs"]:
        row = mart.loc[(pair["product"], pair["partner"])]
        assert row["partner_rank"] == 1
        # while the partner is on sale the confidence is the planted probability, and a little by chance
        orders = int(row["product_order_count"])
        assert abs(row["confidence"] - pair["probability"]) < 4 * np.sqrt(0.35 * 0.65 / orders) + 0.05


def test_elasticities_over_all_price_changes_are_near_the_truth(
    built_shops: BuiltWarehouse, shop: Shop
) -> None:
    """Each change alone is noise (its error is in the mart); together they tell.

    Of the units sold in both windows, those after the change are binomial: their odds are those of the
    whole shop, times (new price / old price) ^ elasticity. Budgets blur what they do not model (decision
    0015), so the tolerance is wider than the noise.
    """
    mart = built_shops.frame("price_history_effects", source="ecommerce")
    mart = mart[(mart["shop_unit_count_before"] > 0) & (mart["shop_unit_count_after"] > 0)]
    truth = {
        category: -value for category, value in shop.behaviour.prices.elasticity.items()
    }  # fmt: skip
    price = np.log((mart["new_price"] / mart["old_price"]).astype(float).to_numpy())
    before, after = (mart[f"unit_count_{side}"].astype(float).to_numpy() for side in ("before", "after"))
    odds = (mart["shop_unit_count_after"] / mart["shop_unit_count_before"]).astype(float).to_numpy()

    def estimate(rows: np.ndarray) -> tuple[float, float]:
        value = 0.0
        for _ in range(50):
            share = 1 / (1 + 1 / (odds[rows] * np.exp(value * price[rows])))
            sold = (before + after)[rows]
            information = (sold * share * (1 - share) * price[rows] ** 2).sum()
            value += ((after[rows] - sold * share) * price[rows]).sum() / information
        return value, information**-0.5

    category = mart["category"].to_numpy()
    expected = np.array([truth[name] for name in category])
    weight = (before + after) * price**2
    value, error = estimate(np.ones(len(mart), bool))
    centre = (expected * weight).sum() / weight.sum()
    print(f"all: {value:.2f} ± {error:.2f}, truth {centre:.2f}")
    assert abs(value - centre) < 3 * error + 0.3 * abs(centre)
    assert value < -3 * error
    for name, true in truth.items():
        value, error = estimate(category == name)
        print(f"{name}: {value:.2f} ± {error:.2f}, truth {true:.2f}")
        assert abs(value - true) < 4 * error + 0.3 * abs(true)
