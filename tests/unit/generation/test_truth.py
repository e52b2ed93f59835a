"""The truth stays apart from the landing zone and agrees with the files."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import shop_simulator
from shop_simulator import ENTITIES, Generation, Shop
from tests.unit.generation.conftest import read_all

DAYS = 60


@pytest.fixture(scope="module")
def told(two_years: Generation, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The last days of the shop with their truth: landing zone and truth."""
    out, truth = tmp_path_factory.mktemp("landing"), tmp_path_factory.mktemp("truth")
    shop_simulator.generate(
        out,
        opening=two_years.opening,
        first=two_years.last - timedelta(days=DAYS - 1),
        last=two_years.last,
        truth=truth,
    )
    return out, truth


def read_truth(folder: Path) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    truth: dict[str, dict[str, dict[str, dict[str, int]]]] = json.loads((folder / "truth.json").read_text())
    return truth


def cents(amounts: pd.Series) -> pd.Series:
    return amounts.str.replace(".", "", regex=False).astype("int64")


def test_every_entity_and_day_has_totals(told: tuple[Path, Path]) -> None:
    out, truth = told
    totals = read_truth(truth)["totals"]
    assert set(totals) == set(ENTITIES)
    for entity in ENTITIES:
        assert len(totals[entity]) == DAYS
        for day, total in totals[entity].items():
            path = out / entity / f"dt={day}" / f"{entity}.csv"
            assert total["rows"] == len(pd.read_csv(path, dtype=str))
            assert len(total) > 1  # more than the rows is known


def test_totals_of_orders_and_items_are_those_of_the_files(told: tuple[Path, Path]) -> None:
    out, truth = told
    totals = read_truth(truth)["totals"]
    orders, items = read_all(out, "orders"), read_all(out, "order_items")
    for day, total in totals["orders"].items():
        rows = orders[orders.file_date == day]
        new = rows[rows.order_date == day]
        assert total["placed"] == len(new)
        assert total["guests"] == (new.customer_id == "").sum()
        for name, column in (("shipping", "shipping_cost"), ("tax", "tax_amount"), ("total", "total_amount")):
            assert total[f"{name}_cents"] == cents(new[column]).sum()
        assert total["goods_cents"] == total["total_cents"] - total["shipping_cents"] - total["tax_cents"]
        assert total["shipped"] == (rows.shipped_at.str[:10] == day).sum()
        assert total["delivered"] == (rows.delivered_at.str[:10] == day).sum()
        cancelled = rows[rows.order_status == "cancelled"]
        assert total["cancelled"] == len(cancelled)
        goods = cents(cancelled.total_amount) - cents(cancelled.shipping_cost) - cents(cancelled.tax_amount)
        assert total["cancelled_goods_cents"] == goods.sum()
    for day, total in totals["order_items"].items():
        rows = items[items.file_date == day]
        assert total["quantity"] == rows.quantity.astype(int).sum()
        assert total["discount_cents"] == cents(rows.discount_amount).sum()
        assert total["total_cents"] == cents(rows.line_total).sum()


def test_totals_of_customers_and_products_are_those_of_the_files(told: tuple[Path, Path]) -> None:
    out, truth = told
    totals = read_truth(truth)["totals"]
    for entity, since in (("customers", "registration_date"), ("products", "created_date")):
        frame = read_all(out, entity)
        is_new = frame[since] == frame.file_date
        for day, total in totals[entity].items():
            assert total["new"] == (is_new & (frame.file_date == day)).sum()
            assert total["changed"] == (~is_new & (frame.file_date == day)).sum()


def test_the_truth_of_customers_agrees_with_their_orders(
    told: tuple[Path, Path], customers: pd.DataFrame, orders: pd.DataFrame, two_years: Generation
) -> None:
    known = pd.read_csv(told[1] / "customers.csv").set_index("customer_id")
    assert list(known.index) == sorted(customers.customer_id.unique())
    placed = orders.drop_duplicates("order_id").groupby("customer_id").size().drop("")
    assert (known.orders == placed.reindex(known.index, fill_value=0)).all()
    assert known.is_alive[known.orders == 1].all()  # a first purchase cannot kill
    dead = known[~known.is_alive]
    # Each repeat purchase ends a customer's life with that customer's probability.
    deaths = known.dropout_probability * (known.orders - 1).clip(lower=0)
    assert abs(len(dead) - deaths.sum()) < 4 * deaths.sum() ** 0.5
    # Who is dead buys no more, who is alive does in the end.
    shop = Shop(42, two_years.opening)
    later = np.concatenate([shop.demand.buyers(day).customer for day in range(730, 1_460)])
    buyers = {f"C{number + 1:010d}" for number in set(later[(later >= 0)].tolist())}
    assert buyers.isdisjoint(dead.index)
    frequent = known.is_alive & (known.purchase_rate > 0.2)
    assert frequent.sum() > 50 and set(known.index[frequent]) <= buyers


def test_pairs_elasticities_and_products_are_told(told: tuple[Path, Path], products: pd.DataFrame) -> None:
    truth = json.loads((told[1] / "truth.json").read_text())
    assert truth["shop"] == {"seed": 42, "scale": 1.0, "opening": "2024-02-02"}
    assert truth["behaviour"]["prices"]["elasticity"]["Beauty"] == 1.0
    catalogue = truth["catalogue"]["products"]
    category = products.groupby("product_id").category.first()
    assert {product: known["category"] for product, known in catalogue.items()} == category.to_dict()
    for pair in truth["catalogue"]["pairs"]:
        assert pair["product"] in catalogue and pair["partner"] in catalogue


def test_the_truth_is_refused_within_the_landing_zone(tmp_path: Path) -> None:
    day = shop_simulator.Shop(1, pd.Timestamp("2026-01-31").date()).opening
    for inside in ("landing", "landing/truth", "other/../landing/truth"):
        with pytest.raises(ValueError, match="must stay apart from the landing zone"):
            shop_simulator.generate(
                tmp_path / "landing", first=day, last=day, truth=tmp_path / inside, entities=["orders"]
            )
    assert not (tmp_path / "landing").exists()
    shop_simulator.generate(
        tmp_path / "landing", first=day, last=day, truth=tmp_path / "truth", entities=["orders"]
    )
    assert sorted(path.name for path in (tmp_path / "landing").iterdir()) == ["orders"]


def test_the_truth_leaves_the_files_as_they_are(told: tuple[Path, Path], two_years: Generation) -> None:
    out = told[0]
    for path in out.rglob("*.csv"):
        assert path.read_bytes() == (two_years.out / path.relative_to(out)).read_bytes()
