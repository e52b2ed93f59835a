"""Marts of a shop small enough to reckon by hand, and that their data tests notice when they are wrong."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from tests.support.dbt_warehouse import DbtWarehouse, Shop
from tests.support.raw_rows import customer, item, order, product, returned

SHOP = "ecommerce"
LAYERS = "tag:layer_warehouse tag:layer_marts"


@pytest.fixture(scope="module")
def built(warehouse: DbtWarehouse, shop: Shop) -> DbtWarehouse:
    """C1 placed three orders of 40, one of which was cancelled two months later; a guest placed one of 20.

    Each item is 2 x 11 - 2 = 20. P1 costs 6, P2 costs 3. One P1 of the third order comes back for 10;
    one of the cancelled order takes nothing more back.
    """
    made = "2025-01-01 08:00+00"
    shop.load(SHOP, "customers", "2026-01-05", [customer("C1", made), customer("C2", made)])
    shop.load(
        SHOP,
        "products",
        "2026-01-05",
        [product("P1", made), product("P2", made, category="Toys", cost=3)],
    )
    days = {"O1": "2025-11-30 10:00+00", "O2": "2025-12-31 10:00+00", "O3": "2026-01-05 10:00+00"}
    shop.load(
        SHOP,
        "orders",
        "2026-01-05",
        [order(key, at, order_status="pending", goods=40) for key, at in days.items()]
        + [order("G1", "2026-01-05 12:00+00", customer_id=None, order_status="pending")],
    )
    shop.load(
        SHOP,
        "order_items",
        "2026-01-05",
        [item(f"{key}-1", key, at) for key, at in days.items()]
        + [item(f"{key}-2", key, at, product_id="P2") for key, at in days.items()]
        + [item("G1-1", "G1", "2026-01-05 12:00+00", product_id="P2")],
    )
    shop.load(
        SHOP,
        "orders",
        "2026-01-31",
        [
            order(
                "O1", days["O1"], order_status="cancelled", goods=40, updated_at="2026-01-31 08:00+00"
            )
        ],
    )  # fmt: skip
    back = "2026-01-20 08:00+00"
    shop.load(SHOP, "returns", "2026-01-20", [returned("RT1", "O3-1", back), returned("RT2", "O1-1", back)])
    warehouse.run(select=LAYERS)
    return warehouse


def test_the_customer_summary_is_as_reckoned_by_hand(built: DbtWarehouse) -> None:
    assert built.query(
        """
        select order_count, cancelled_order_count, frequency, unit_count, gross_amount, discount_amount,
            cancelled_amount, returned_unit_count, refund_amount, net_amount, cost_amount, margin_amount,
            average_order_value, first_order_date::text, last_order_date::text, as_of_date::text,
            recency_days, average_days_between_orders, favourite_category, activity_status, rfm_segment
        from marts_build.customer_summary where customer_id = 'C1'
        """
    ) == [
        (
            3, 1, 2, 12, D(132), D(12), D(40), 1, D(10), D(70), D(30), D(40), D(40),
            "2025-11-30", "2026-01-05", "2026-01-31", 26, D(5), "Home", "active", "Champions",
        )
    ]  # fmt: skip
    assert built.query(
        "select customer_id, order_count, net_amount, rfm_segment, activity_status "
        "from marts_build.customer_summary where customer_id <> 'C1'"
    ) == [("C2", 0, D(0), None, "no_orders")]


def test_the_sales_summary_is_as_reckoned_by_hand(built: DbtWarehouse) -> None:
    assert built.query(
        """
        select period_type, period_start::text, order_count, cancelled_order_count, customer_count,
            gross_amount, refund_amount, net_amount, margin_amount, shipping_amount, guest_net_amount,
            is_complete
        from marts_build.sales_summary where period_type in ('month', 'quarter') order by 1, 2
        """
    ) == [
        ("month", "2025-11-01", 1, 0, 1, D(44), D(0), D(40), D(22), D(5), D(0), True),
        ("month", "2025-12-01", 1, 0, 1, D(44), D(0), D(40), D(22), D(5), D(0), True),
        ("month", "2026-01-01", 2, 1, 1, D(66), D(10), D(10), D(10), D(10), D(20), True),
        ("quarter", "2025-10-01", 2, 0, 1, D(88), D(0), D(80), D(44), D(10), D(0), True),
        ("quarter", "2026-01-01", 2, 1, 1, D(66), D(10), D(10), D(10), D(10), D(20), False),
    ]  # fmt: skip


def test_the_product_performance_is_as_reckoned_by_hand(built: DbtWarehouse) -> None:
    assert built.query(
        """
        select product_id, order_count, unit_count, cancelled_unit_count, returned_unit_count, refund_amount,
            net_amount, cost_amount, margin_amount, net_share, abc_class,
            recent_net_amount, previous_net_amount, trend, return_rate, health_score, recommendation
        from marts_build.product_performance order by 1
        """
    ) == [
        (
            "P1", 3, 6, 2, 1, D(10), D(30), D(18), D(12), D("0.3333333333"), "A", D(-10), D(20),
            "falling", D("0.25"), D("33.333333"), "Win back",
        ),
        (
            "P2", 4, 8, 2, 0, D(0), D(60), D(18), D(42), D("0.6666666667"), "A", D(20), D(20),
            "stable", D(0), D("76.666667"), "Protect",
        ),
    ]  # fmt: skip


def test_the_return_analysis_is_as_reckoned_by_hand(built: DbtWarehouse) -> None:
    assert built.query(
        """
        select product_id, category, return_count, uncounted_return_count, returned_unit_count,
            kept_unit_count, return_rate, reason_share, refund_amount, returned_cost_amount,
            lost_margin_amount, average_days_since_order
        from marts_build.return_analysis
        """
    ) == [("P1", "Home", 1, 1, 1, 4, D("0.25"), D(1), D(10), D(6), D(4), D(15))]


@pytest.mark.parametrize(
    ("damage", "test"),
    [
        (
            "update marts_build.sales_summary set gross_amount = gross_amount + 0.01",
            "sales_summary_days_equal_facts_to_the_cent",
        ),
        (
            "delete from marts_build.sales_summary where period_type = 'day' and cancelled_amount > 0",
            "sales_summary_days_equal_facts_to_the_cent",
        ),
        (
            "update marts_build.sales_summary set refund_amount = 0, net_amount = net_amount + refund_amount",
            "sales_summary_days_equal_facts_to_the_cent",
        ),
        (
            "update marts_build.sales_summary set order_count = 99 where period_type = 'quarter'",
            "sales_summary_longer_periods_equal_their_days",
        ),
        (
            "update marts_build.sales_summary set customer_count = 99 where period_type = 'week'",
            "sales_summary_longer_periods_equal_their_days",
        ),
        (
            "update marts_build.sales_summary set running_net_amount = running_net_amount + 0.01",
            "sales_summary_running_totals_are_the_sums_of_their_days",
        ),
        (
            "update marts_build.geographic_performance set net_amount = 0.01 where level = 'city'",
            "places_together_are_all_sales",
        ),
        (
            "update marts_build.geographic_performance set net_share = 0.9",
            "shares_of_the_sales_marts_sum_to_one",
        ),
        (
            "update marts_build.monthly_metrics set returning_customer_net_amount = 0.01",
            "new_customers_returning_ones_and_guests_are_all_of_a_month",
        ),
        (
            "delete from marts_build.seasonal_trends where dimension = 'weekday' and order_count > 0",
            "weekdays_and_months_of_the_year_are_all_sales",
        ),
        (
            "update marts_build.fulfilment_performance set order_count = order_count + 1",
            "fulfilment_counts_every_order_once",
        ),
        (
            "update marts_build.executive_kpis set value = value + 0.01 where kpi = 'net_revenue'",
            "executive_kpis_have_every_figure_of_the_month_shown",
        ),
        (
            "update marts_build.customer_summary set net_amount = net_amount - 0.01",
            "customers_and_guests_together_are_all_sales",
        ),
        (
            "delete from marts_build.product_performance where product_id = 'P2'",
            "products_together_are_all_sales",
        ),
        ("update marts_build.product_performance set net_share = 0.7", "product_shares_sum_to_one"),
        (
            "update marts_build.return_analysis set refund_amount = refund_amount + 0.01",
            "product_returns_are_all_refunds_of_products",
        ),
        (
            "update marts_build.return_analysis set reason_share = 0.9",
            "product_return_reason_shares_sum_to_one",
        ),
        (
            "update staging.product_health_parts set weight = 20 where part = 'sales'",
            "product_health_weights_sum_to_100",
        ),
        (
            "delete from staging.product_recommendations where recommendation = 'Keep'",
            "product_recommendations_end_with_one_for_all",
        ),
        (
            "update marts_build.customer_summary set rfm_segment = null",
            "customers_with_standing_orders_have_every_score",
        ),
        (
            "update staging.rfm_segments set max_recency_score = 4 where segment = 'Champions'",
            "rfm_segments_partition_all_scores",
        ),
        (
            "update staging.abc_classes set min_share_before = 0.1 where abc_class = 'A'",
            "abc_classes_begin_at_zero",
        ),
        (
            "update staging.activity_statuses set min_recency_days = 1 where activity_status = 'active'",
            "activity_statuses_begin_at_zero",
        ),
    ],
)  # fmt: skip
def test_the_data_test_notices(built: DbtWarehouse, damage: str, test: str) -> None:
    schema = damage.split("marts_build.")[-1] if "marts_build." in damage else damage.split("staging.")[-1]
    table = ("marts_build." if "marts_build." in damage else "staging.") + schema.split()[0]
    built.query(f"create table public.kept as select * from {table}")
    try:
        assert built.build("test", select=test) == {test: "pass"}
        built.query(damage)
        assert built.build("test", select=test, fails=True) == {test: "fail"}
    finally:
        built.query(f"delete from {table}; insert into {table} select * from public.kept")
        built.query("drop table public.kept")
