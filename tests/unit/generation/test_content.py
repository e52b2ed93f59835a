"""What the files of two years say: amounts, references, versions and sizes."""

import csv
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

import shop_simulator
from shop_simulator import ENTITIES, Generation, Shop

STATUS_ORDER = {"pending": 0, "processing": 1, "shipped": 2, "delivered": 3, "cancelled": 3}


EVERY_DAY = ("inventory", "marketing_spend")  # have rows whether anything is bought or not


def cents(amounts: pd.Series) -> pd.Series:
    assert amounts.str.fullmatch(r"\d+\.\d\d").all()
    return amounts.str.replace(".", "", regex=False).astype("int64")


def test_two_years_at_scale_1_have_the_promised_size(
    customers: pd.DataFrame, products: pd.DataFrame, orders: pd.DataFrame, items: pd.DataFrame
) -> None:
    assert customers.customer_id.nunique() == pytest.approx(8_500, rel=0.05)
    assert products.product_id.nunique() == pytest.approx(500, rel=0.05)
    assert orders.order_id.nunique() == pytest.approx(20_000, rel=0.05)
    assert len(items) == pytest.approx(50_000, rel=0.05)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_customers_and_orders_are_in_proportion_to_the_scale(
    scale: float, two_years: Generation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = two_years.last - timedelta(days=9)

    def count(factor: float, entity: str) -> int:
        out = tmp_path_factory.mktemp("scale")
        made = shop_simulator.generate(
            out,
            opening=two_years.opening,
            first=first,
            last=two_years.last,
            scale=10 * factor,
            entities=[entity],
        )
        return made.entities[entity].rows

    for entity in ("customers", "order_items"):
        assert count(scale, entity) == pytest.approx(scale * count(1, entity), rel=0.08)


def test_the_counts_reported_are_those_of_the_files(two_years: Generation, orders: pd.DataFrame) -> None:
    paths = list((two_years.out / "orders").rglob("*.csv"))
    count = two_years.entities["orders"]
    assert count.rows == len(orders)
    assert count.files_written == len(paths) == 730
    assert count.bytes == sum(path.stat().st_size for path in paths)


def test_every_file_has_its_columns_in_order_and_parses_strictly(two_years: Generation) -> None:
    for name, entity in ENTITIES.items():
        for path in (two_years.out / name).rglob("*.csv"):
            data = path.read_bytes()
            assert not data.startswith(b"\xef\xbb\xbf") and b"\r" not in data and b"\0" not in data
            assert data.endswith(b"\n")
            rows = list(csv.reader(data.decode("utf-8").splitlines(keepends=True), strict=True))
            assert tuple(rows[0]) == entity.columns
            assert {len(row) for row in rows} == {len(entity.columns)}
            assert len(rows) == data.count(b"\n")


def test_text_exercises_quoting_and_utf_8(customers: pd.DataFrame, products: pd.DataFrame) -> None:
    assert customers.address.str.contains(",").mean() > 0.05
    assert products.product_name.str.contains('"').any()
    assert products.description.str.contains(",").any()
    assert customers.last_name.str.contains(r"[^\x00-\x7f]").mean() > 0.005
    assert (customers.state == "").any() and (customers.gender == "").any()


def test_a_file_has_each_key_once_and_rows_of_its_day_only(
    customers: pd.DataFrame, products: pd.DataFrame, orders: pd.DataFrame, items: pd.DataFrame
) -> None:
    for frame, key in ((customers, "customer_id"), (products, "product_id"), (orders, "order_id")):
        assert not frame.duplicated([key, "file_date"]).any()
        assert (frame.updated_at.str[:10] == frame.file_date).all()
    assert items.order_item_id.is_unique
    assert (items.created_at.str[:10] == items.file_date).all()


def test_later_versions_of_a_customer_or_product_keep_what_does_not_change(
    customers: pd.DataFrame, products: pd.DataFrame
) -> None:
    fixed = {
        "customer_id": (customers, ["first_name", "last_name", "registration_date", "birth_date", "gender"]),
        "product_id": (products, ["product_name", "category", "brand", "created_date", "weight"]),
    }
    for key, (frame, columns) in fixed.items():
        versions = frame.groupby(key)
        assert (versions[columns].nunique() == 1).all(axis=None)
        assert (versions.updated_at.nunique() == versions.size()).all()
        assert versions.size().max() > 1
    for column in ("address", "email", "customer_segment", "marketing_opt_in"):
        assert (customers.groupby("customer_id")[column].nunique() > 1).any()


def test_e_mail_addresses_are_valid_and_belong_to_one_customer(customers: pd.DataFrame) -> None:
    assert customers.email.str.fullmatch(r"[a-z]+\.[a-z]+\d+@example\.(com|org|net)").all()
    assert (customers.groupby("email").customer_id.nunique() == 1).all()


def test_line_totals_are_quantity_times_price_less_discount(items: pd.DataFrame) -> None:
    gross = items.quantity.astype("int64") * cents(items.unit_price)
    discount = cents(items.discount_amount)
    assert (cents(items.line_total) == gross - discount).all()
    assert (discount <= gross).all()
    assert (discount > 0).mean() == pytest.approx(0.15, abs=0.01)


def test_order_totals_are_lines_plus_shipping_plus_tax(orders: pd.DataFrame, items: pd.DataFrame) -> None:
    lines = cents(items.line_total).groupby(items.order_id).sum()
    assert set(lines.index) == set(orders.order_id)
    total = lines.loc[orders.order_id].to_numpy() + cents(orders.shipping_cost) + cents(orders.tax_amount)
    assert (cents(orders.total_amount) == total).all()
    assert (orders.currency == "USD").all()


def test_orders_come_after_the_registration_of_their_customer(
    customers: pd.DataFrame, orders: pd.DataFrame
) -> None:
    registered = customers.groupby("customer_id").updated_at.min()
    dates = customers.groupby("customer_id").registration_date.first()
    assert (registered.str[:10] == dates).all()
    known = orders[orders.customer_id != ""]
    assert known.customer_id.isin(registered.index).all()
    assert (known.created_at.to_numpy() >= registered.loc[known.customer_id].to_numpy()).all()
    assert (orders.order_date == orders.created_at.str[:10]).all()


def test_some_orders_are_placed_by_guests(orders: pd.DataFrame) -> None:
    new = orders.drop_duplicates("order_id")
    assert (new.customer_id == "").mean() == pytest.approx(0.04, abs=0.006)  # 4 standard errors


def test_items_are_sold_while_active_and_at_the_price_of_their_time(
    products: pd.DataFrame, items: pd.DataFrame
) -> None:
    versions = products.assign(at=pd.to_datetime(products.updated_at)).sort_values("at")
    sold = items.assign(at=pd.to_datetime(items.created_at)).sort_values("at")
    valid = pd.merge_asof(
        sold, versions[["at", "product_id", "price", "is_active"]], on="at", by="product_id"
    )
    assert valid.price.notna().all()
    assert (valid.unit_price == valid.price).all()
    assert (valid.is_active == "true").all()
    assert (products.is_active == "false").any()
    assert (cents(products.cost) < cents(products.price)).all()


def test_no_order_has_a_product_twice(items: pd.DataFrame) -> None:
    assert not items.duplicated(["order_id", "product_id"]).any()
    assert items.groupby("order_id").size().mean() == pytest.approx(2.5, abs=0.1)


def test_an_order_only_moves_forward_and_is_settled_within_fourteen_days(orders: pd.DataFrame) -> None:
    rank = orders.order_status.map(STATUS_ORDER)
    assert (rank.groupby(orders.order_id).diff().dropna() > 0).all()
    fixed = orders.columns.difference(
        ["order_status", "shipped_at", "delivered_at", "updated_at", "file_date"]
    )
    assert (orders.groupby("order_id")[list(fixed)].nunique() == 1).all(axis=None)
    age = pd.to_datetime(orders.file_date) - pd.to_datetime(orders.order_date)
    assert age.max() <= pd.Timedelta(days=14)
    final = orders.groupby("order_id").last()
    old = final[pd.to_datetime(final.order_date) <= pd.Timestamp("2026-01-17")]
    assert set(old.order_status) == {"delivered", "cancelled"}
    assert (old.order_status == "cancelled").mean() == pytest.approx(0.04, abs=0.006)


def test_the_times_of_an_order_agree_with_its_status(orders: pd.DataFrame) -> None:
    shipped, delivered = orders.shipped_at != "", orders.delivered_at != ""
    assert (shipped == orders.order_status.isin(["shipped", "delivered"])).all()
    assert (delivered == (orders.order_status == "delivered")).all()
    assert (orders.updated_at >= orders.created_at).all()
    assert (orders.shipped_at > orders.created_at)[shipped].all()
    assert (orders.delivered_at > orders.shipped_at)[delivered].all()
    assert (orders.updated_at == orders.delivered_at)[delivered].all()


def test_sales_are_skewed_seasonal_and_growing(orders: pd.DataFrame, items: pd.DataFrame) -> None:
    new = orders.drop_duplicates("order_id")
    per_customer = np.sort(new.groupby("customer_id").size().to_numpy())[::-1]
    assert per_customer[: len(per_customer) // 10].sum() > 0.2 * len(new)
    per_product = np.sort(items.groupby("product_id").size().to_numpy())[::-1]
    assert per_product[: len(per_product) // 10].sum() > 0.35 * len(items)
    per_month = new.groupby(new.order_date.str[:7]).size()
    assert per_month["2025-12"] > 1.2 * per_month["2025-10"]
    assert per_month["2025-06"] > 1.5 * per_month["2024-06"]


def test_a_day_without_rows_has_a_file_with_a_header(two_years: Generation) -> None:
    shop = Shop(seed=1, opening=two_years.opening, scale=0.001)
    day = shop.day(two_years.opening + timedelta(days=3))
    for name, entity in ENTITIES.items():
        if name not in EVERY_DAY:
            assert day.csv(name) == ",".join(entity.columns).encode() + b"\n"
