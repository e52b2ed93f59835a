"""What a run of the pipeline did, and five numbers of the business, as `./deploy.sh dev` ends with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import psycopg2.extensions

from ecommerce_dw.loading.ledger import in_effect
from ecommerce_dw.platform import database
from ecommerce_dw.settings import Settings


@dataclass(frozen=True)
class Summary:
    """Counts of one run, and of what is in the warehouse.

    Attributes:
        files: Loaded files in the warehouse, and those this run loaded.
        rows_loaded: Rows of the loaded files, and those this run loaded.
        rows_rejected: Rejected rows of the loaded files that nothing has settled.
        refused: Refused files that nobody has settled.
        flagged: Kind → rows that loaded and are flagged.
        models: Models and seeds this run built.
        tests: dbt tests this run passed.
        expectations: Expectations this run met, and those it validated.
        published: Rows the run inserted, updated or deleted in `marts`.
        business: Shop → name → value, ready to show.
    """

    files: tuple[int, int] = (0, 0)
    rows_loaded: tuple[int, int] = (0, 0)
    rows_rejected: int = 0
    refused: int = 0
    flagged: Mapping[str, int] = field(default_factory=dict)
    models: int = 0
    tests: int = 0
    expectations: tuple[int, int] = (0, 0)
    published: int = 0
    business: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_summary(settings: Settings, run_id: str | None) -> Summary:
    """Collect the summary of one run from the tables of `raw`, `ops` and `marts`."""
    connection = database.connect(settings, settings.warehouse_db)
    try:
        files = _rows(
            connection,
            f"""
            select count(*), count(*) filter (where run_id = %(run)s), coalesce(sum(rows_loaded), 0),
                coalesce(sum(rows_loaded) filter (where run_id = %(run)s), 0)
            from raw.load_ledger as l where {in_effect("l")}
            """,
            {"run": run_id},
        )[0]
        rejected = _rows(
            connection,
            f"""
            select count(*)
            from raw.rejected_rows as r
            join raw.load_ledger as l using (file_id)
            where r.resolved_by is null and {in_effect("l")}
            """,
        )
        refused = _rows(
            connection, "select count(*) from raw.load_ledger where status = 'refused' and is_current"
        )
        results = _rows(
            connection,
            """
            select count(*) filter (where resource_type in ('model', 'seed') and status = 'success'),
                count(*) filter (where resource_type in ('test', 'unit_test') and status = 'pass')
            from ops.dbt_results where run_id = %(run)s
            """,
            {"run": run_id},
        )[0]
        expectations = _rows(
            connection,
            """
            select count(*) filter (where is_success), count(*)
            from ops.expectation_results where run_id = %(run)s
            """,
            {"run": run_id},
        )[0]
        published = _rows(
            connection,
            """
            select coalesce(sum(rows_inserted + rows_updated + rows_deleted), 0)
            from ops.publications where run_id = %(run)s
            """,
            {"run": run_id},
        )
        flagged = _rows(
            connection,
            "select kind, sum(row_count)::bigint from ops.flagged_rows group by kind order by kind",
            may_be_missing=True,
        )
        return Summary(
            files=(files[0], files[1]),
            rows_loaded=(int(files[2]), int(files[3])),
            rows_rejected=rejected[0][0],
            refused=refused[0][0],
            flagged={kind: int(count) for kind, count in flagged if count},
            models=results[0],
            tests=results[1],
            expectations=(expectations[0], expectations[1]),
            published=int(published[0][0]),
            business=_business_numbers(connection),
        )
    finally:
        connection.close()


def _business_numbers(connection: psycopg2.extensions.connection) -> dict[str, dict[str, str]]:
    """Five numbers of each shop, from the published marts."""
    shops = _rows(
        connection,
        """
        with sales as (
            select
                source_system,
                max(currency) as currency,
                sum(order_count) as order_count,
                sum(net_amount) as net_amount,
                sum(margin_amount) as margin_amount,
                sum(cancelled_amount) / nullif(sum(gross_amount), 0) as cancelled_share,
                count(*) = count(margin_amount) as has_margin
            from marts.sales_summary
            where period_type = 'month'
            group by source_system
        ),

        buyers as (
            select
                source_system, count(*) as customer_count,
                count(*) filter (where order_count > 1) as repeaters
            from marts.customer_summary
            where order_count > 0
            group by source_system
        ),

        best_sellers as (
            select distinct on (source_system) source_system, product_name, net_amount
            from marts.product_performance
            order by source_system, net_amount desc nulls last, product_id
        )

        select
            sales.source_system, sales.currency, sales.order_count, sales.net_amount,
            case when sales.has_margin then sales.margin_amount / nullif(sales.net_amount, 0) end,
            sales.cancelled_share, buyers.customer_count, buyers.repeaters, best_sellers.product_name,
            best_sellers.net_amount
        from sales
        left join buyers using (source_system)
        left join best_sellers using (source_system)
        order by sales.source_system
        """,
        may_be_missing=True,
    )
    numbers: dict[str, dict[str, str]] = {}
    for shop, currency, orders, net, margin, cancelled, buyers, repeaters, product, product_net in shops:
        numbers[shop] = {
            "orders": f"{orders:,}",
            "net revenue": f"{net:,.2f} {currency}" + (f" ({cancelled:.1%} cancelled)" if cancelled else ""),
            "contribution margin": "unknown (no costs)" if margin is None else f"{margin:.1%}",
            "customers who bought": f"{buyers or 0:,}"
            + (f" ({repeaters / buyers:.1%} more than once)" if buyers else ""),
            "best seller": "-" if product is None else f"{product} ({product_net:,.2f} {currency})",
        }
    return numbers


def _rows(
    connection: psycopg2.extensions.connection,
    statement: str,
    parameters: Mapping[str, object] | None = None,
    *,
    may_be_missing: bool = False,
) -> list[tuple[Any, ...]]:
    """Rows of a query; none of a table that dbt has not built yet, where that may be."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement, parameters)
        except psycopg2.errors.UndefinedTable:
            if may_be_missing:
                return []
            raise
        return cursor.fetchall()
