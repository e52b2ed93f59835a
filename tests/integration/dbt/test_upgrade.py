"""A new version of the project on the tables of the one before: columns come, go and change their type."""

from __future__ import annotations

from tests.support.dbt_warehouse import DbtWarehouse, Shop
from tests.support.two_shops import load_two_shops


def test_tables_of_an_older_shape_are_built_anew_by_a_plain_run(warehouse: DbtWarehouse, shop: Shop) -> None:
    load_two_shops(shop)
    warehouse.run()
    now = warehouse.fingerprints()
    days = warehouse.query("select max(touched_seq) from ops.touched where model = 'fact_payments'")
    warehouse.query(
        """
        drop view ops.flagged_rows cascade;
        alter table warehouse.dim_customers drop column country cascade;
        alter table warehouse.fact_order_items alter column gross_amount type numeric(18, 0);
        alter table warehouse.fact_orders add column of_yesterday text;
        alter table intermediate.int_flagged_web_events drop column version_count cascade;
        """
    )
    assert warehouse.fingerprints() != now
    warehouse.run()
    assert warehouse.fingerprints() == now
    # a table that kept its shape is not built anew
    assert days == warehouse.query("select max(touched_seq) from ops.touched where model = 'fact_payments'")


def test_a_seed_of_an_older_shape_is_made_anew(warehouse: DbtWarehouse, shop: Shop) -> None:
    load_two_shops(shop)
    before = warehouse.query("select * from staging.rfm_segments order by 1")
    warehouse.query(
        """
        alter table staging.rfm_segments drop column description cascade;
        update ops.applied_definitions set digest = 'of yesterday' where model = 'rfm_segments';
        """
    )
    warehouse.build("seed", select="rfm_segments")
    assert warehouse.query("select * from staging.rfm_segments order by 1") == before
