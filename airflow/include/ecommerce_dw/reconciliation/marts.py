"""From the facts to the marts, and from the marts that were built to the published ones."""

from __future__ import annotations

from ecommerce_dw.loading.ddl import quote_text
from ecommerce_dw.reconciliation.comparison import Comparisons, Step, on_days
from ecommerce_dw.reconciliation.measures import ROWS
from ecommerce_dw.reconciliation.plan import Days

_WAREHOUSE, _BUILT, _PUBLISHED = "warehouse", "marts_build", "marts"

#: Column of a fact and of `sales_summary`, on the order's date. Cancellations have a date of their own.
_LINE_MEASURES = {
    "gross": "gross_amount",
    "discounts": "discount_amount",
    "fees": "fee_amount",
    "adjustments": "adjustment_amount",
}
#: What is compared of each published mart, with the rows that are added up.
MARTS = {
    "sales_summary": ("order_items", "where period_type = 'day'"),
    "customer_summary": ("customers", ""),
    "product_performance": ("products", ""),
}


def compare_facts_to_marts(comparisons: Comparisons, source: str, days: Days) -> None:
    """One source's facts against the days of `marts_build.sales_summary`, these against the other marts."""
    system = quote_text(source)
    for entity, select in (
        ("order_items", _lines(system, days)),
        ("orders", _orders(system, days)),
        ("returns", _returns(system, days)),
    ):
        step = Step(
            source, entity, _WAREHOUSE, _BUILT, f"warehouse.fact_{entity}", "marts_build.sales_summary", days
        )
        comparisons.add(step, select)
        _explain_pending(comparisons, step, system)
    unfed = _unfed(comparisons, system)
    for entity, table, select in (
        ("customers", "customer_summary", _customers(system)),
        ("products", "product_performance", _products(system)),
    ):
        if table in unfed:
            continue
        comparisons.add(
            Step(source, entity, _BUILT, _BUILT, "marts_build.sales_summary", f"marts_build.{table}", None),
            select,
        )


def _unfed(comparisons: Comparisons, system: str) -> frozenset[str]:
    """Tables that are empty for a source because its files lack what they are made from."""
    comparisons.cursor.execute("select to_regclass('ops.unfed_tables') is not null")
    if comparisons.cursor.fetchone() != (True,):  # built by the next run
        return frozenset()
    comparisons.cursor.execute(f"select table_name from ops.unfed_tables where source_system = {system}")
    return frozenset(table for (table,) in comparisons.cursor)


def compare_built_to_published(comparisons: Comparisons, source: str) -> None:
    """One source's marts that were built against the published ones."""
    system = quote_text(source)
    for table, (entity, where) in MARTS.items():
        condition = f"{where} {'and' if where else 'where'} source_system = {system}"
        step = Step(source, entity, _BUILT, _PUBLISHED, f"marts_build.{table}", f"marts.{table}", None)
        sums = (
            "count(*) as row_count, coalesce(sum(gross_amount), 0) as gross, "
            "coalesce(sum(net_amount), 0) as net"
        )
        comparisons.add(
            step,
            f"""
            select null::date as day, m.measure, null as name, m.built as delivered, m.built as expected,
                m.published as actual, 0 as row_count, (m.built <> m.published)::integer as wrong
            from (select {sums} from marts_build.{table} {condition}) as b
            cross join (select {sums} from marts.{table} {condition}) as p
            cross join lateral (
                values
                    ('{ROWS}', b.row_count::numeric, p.row_count::numeric),
                    ('gross', b.gross, p.gross),
                    ('net', b.net, p.net)
            ) as m (measure, built, published)
            where b.row_count > 0 or p.row_count > 0
            """,
        )
        comparisons.cursor.execute(
            """
            select exists (
                select from ops.touched
                where model = %s and touched_seq > coalesce(
                    (select touched_seq from ops.model_marks where model = 'publication:' || %s), -1
                )
            )
            """,
            (table, table),
        )
        (is_pending,) = comparisons.cursor.fetchone() or (False,)
        if is_pending:
            comparisons.explain_rest(step, "not_published_yet", "true")


def _lines(system: str, days: Days) -> str:
    measures = ", ".join(f"sum({column}) as {name}" for name, column in _LINE_MEASURES.items())
    values = ", ".join(f"('{name}', l.{name}, l.{name}, null)" for name in _LINE_MEASURES)
    marts = ", ".join(f"('{name}', s.{column})" for name, column in _LINE_MEASURES.items())
    return f"""
        with lines as (
            select
                i.order_date as day,
                i.line_type,
                i.line_type = 'sale' and i.line_total <> i.gross_amount - i.discount_amount as is_mismatch,
                count(*) as row_count,
                {measures},
                sum(line_total) as line_total
            from warehouse.fact_order_items as i
            where i.source_system = {system} and {on_days("i.order_date", days)}
            group by 1, 2, 3
        ),

        cancellations as (
            select
                i.cancelled_date as day,
                i.line_type,
                count(*) filter (where i.cancelled_amount <> 0) as row_count,
                sum(i.cancelled_amount) as cancelled
            from warehouse.fact_order_items as i
            where i.source_system = {system} and i.cancelled_date is not null
                and {on_days("i.cancelled_date", days)}
            group by 1, 2
        ),

        sales_days as (
            select * from marts_build.sales_summary as s
            where s.source_system = {system} and s.period_type = 'day' and {on_days("s.period_start", days)}
        ),

        compared as (
            select l.day, m.measure, m.name, m.delivered, m.expected, 0::numeric as actual, l.row_count
            from lines as l
            cross join lateral (
                values
                    {values},
                    (
                        'net',
                        l.line_total,
                        case
                            when l.line_type = 'sale' then l.gross - l.discounts
                            when l.line_type = 'cancellation' then l.line_total
                            else 0
                        end,
                        case when l.is_mismatch then 'line_total_mismatch'
                            when l.line_type in ('fee', 'adjustment') then l.line_type end
                    )
            ) as m (measure, delivered, expected, name)
            union all
            select day, 'cancellations', null, cancelled, cancelled, 0, row_count
            from cancellations
            union all
            -- documents are in the lines already
            select day, 'net', 'cancelled', 0, -cancelled, 0, row_count
            from cancellations
            where line_type = 'sale'
            union all
            select s.period_start, m.measure, null, 0, 0, m.actual, 0
            from sales_days as s
            cross join lateral (
                values {marts}, ('cancellations', s.cancelled_amount), ('net', s.net_amount + s.refund_amount)
            ) as m (measure, actual)
        )

        select day, measure, name, delivered, expected, actual, row_count, 0 as wrong
        from compared
    """


def _orders(system: str, days: Days) -> str:
    return f"""
        with lines as (
            select
                i.order_id,
                i.order_date,
                sum(i.line_total) as line_total,
                -- what the marts do not take for sales
                sum(i.line_total) filter (where i.line_type = 'fee') as fee,
                count(*) filter (where i.line_type = 'fee') as fee_count,
                sum(i.line_total) filter (where i.line_type = 'adjustment') as adjustment,
                count(*) filter (where i.line_type = 'adjustment') as adjustment_count,
                sum(i.line_total - i.gross_amount + i.discount_amount) filter (where i.line_type = 'sale')
                    as mismatch,
                count(*) filter (
                    where i.line_type = 'sale' and i.line_total <> i.gross_amount - i.discount_amount
                ) as mismatch_count
            from warehouse.fact_order_items as i
            where i.source_system = {system} and {on_days("i.order_date", days)}
            group by i.order_id, i.order_date
        ),

        orders as (
            select
                o.order_date as day,
                o.order_type,
                o.shipping_cost,
                o.tax_amount,
                o.total_amount,
                coalesce(l.line_total, 0) + o.shipping_cost + o.tax_amount as composed,
                case
                    when o.is_incomplete then 'incomplete_order'
                    when o.item_count = 0 then 'order_without_items'
                    else 'order_total_mismatch'
                end as mismatch_name,
                l.fee,
                l.fee_count,
                l.adjustment,
                l.adjustment_count,
                l.mismatch,
                l.mismatch_count
            from warehouse.fact_orders as o
            left join lines as l on l.order_id = o.order_id and l.order_date = o.order_date
            where o.source_system = {system} and {on_days("o.order_date", days)}
        ),

        compared as (
            select day, '{ROWS}' as measure,
                case when order_type <> 'sale' then 'cancellation_document' end as name,
                1::numeric as delivered, (order_type = 'sale')::integer::numeric as expected,
                0::numeric as actual, 1::bigint as row_count
            from orders
            union all
            select day, 'shipping', null, shipping_cost, shipping_cost, 0, 1 from orders
            union all
            select day, 'tax', null, tax_amount, tax_amount, 0, 1 from orders
            union all
            select day, 'total', case when composed <> total_amount then mismatch_name end, total_amount,
                composed, 0, 1
            from orders
            union all
            select o.day, 'total', m.name, 0, -m.amount, 0, m.row_count
            from orders as o
            cross join lateral (
                values
                    ('fee', o.fee, o.fee_count),
                    ('adjustment', o.adjustment, o.adjustment_count),
                    ('line_total_mismatch', o.mismatch, o.mismatch_count)
            ) as m (name, amount, row_count)
            where m.row_count > 0
            union all
            select i.cancelled_date, 'total', 'cancelled', 0, -sum(i.cancelled_amount), 0, count(*)
            from warehouse.fact_order_items as i
            where i.source_system = {system} and i.line_type = 'sale' and i.cancelled_amount <> 0
                and i.cancelled_date is not null and {on_days("i.cancelled_date", days)}
            group by i.cancelled_date
            union all
            select s.period_start, m.measure, null, 0, 0, m.actual, 0
            from marts_build.sales_summary as s
            cross join lateral (
                values
                    ('{ROWS}', s.order_count::numeric),
                    ('shipping', s.shipping_amount),
                    ('tax', s.tax_amount),
                    ('total', s.net_amount + s.refund_amount + s.shipping_amount + s.tax_amount)
            ) as m (measure, actual)
            where s.source_system = {system} and s.period_type = 'day' and {on_days("s.period_start", days)}
        )

        select day, measure, name, delivered, expected, actual, row_count, 0 as wrong
        from compared
    """


def _returns(system: str, days: Days) -> str:
    return f"""
        with returns as (
            select
                r.returned_date as day,
                case when not r.is_counted then 'return_of_cancelled_order' end as name,
                count(*) as row_count,
                sum(r.quantity) as delivered_units,
                sum(r.returned_quantity) as units,
                sum(r.delivered_refund_amount) as delivered_refunds,
                sum(r.refund_amount) as refunds
            from warehouse.fact_returns as r
            where r.source_system = {system} and {on_days("r.returned_date", days)}
            group by 1, 2
        ),

        compared as (
            select r.day, m.measure, r.name, m.delivered, m.expected, 0::numeric as actual, r.row_count
            from returns as r
            cross join lateral (
                values
                    ('units', r.delivered_units::numeric, r.units::numeric),
                    ('refunds', r.delivered_refunds, r.refunds)
            ) as m (measure, delivered, expected)
            union all
            select s.period_start, m.measure, null, 0, 0, m.actual, 0
            from marts_build.sales_summary as s
            cross join lateral (
                values ('units', s.returned_unit_count::numeric), ('refunds', s.refund_amount)
            ) as m (measure, actual)
            where s.source_system = {system} and s.period_type = 'day' and {on_days("s.period_start", days)}
        )

        select day, measure, name, delivered, expected, actual, row_count, 0 as wrong
        from compared
    """


def _customers(system: str) -> str:
    return f"""
        with sales as (
            select
                coalesce(sum(s.order_count), 0)::numeric as orders,
                coalesce(sum(s.guest_order_count), 0)::numeric as guest_orders,
                coalesce(sum(s.net_amount), 0) as net,
                coalesce(sum(s.guest_net_amount), 0) as guest_net
            from marts_build.sales_summary as s
            where s.source_system = {system} and s.period_type = 'day'
        ),

        compared as (
            select m.measure, m.name, m.delivered, m.expected, 0::numeric as actual, m.row_count
            from sales as s
            cross join lateral (
                values
                    ('orders', null, s.orders - s.guest_orders, s.orders - s.guest_orders, 0::numeric),
                    ('orders', 'guest', s.guest_orders, 0, s.guest_orders),
                    ('net', null, s.net - s.guest_net, s.net - s.guest_net, 0),
                    ('net', 'guest', s.guest_net, 0, s.guest_orders)
            ) as m (measure, name, delivered, expected, row_count)
            union all
            select m.measure, null, 0, 0, m.actual, 0
            from (
                select sum(c.order_count) as order_count, sum(c.net_amount) as net_amount
                from marts_build.customer_summary as c
                where c.source_system = {system}
            ) as c
            cross join lateral (
                values ('orders', coalesce(c.order_count, 0)), ('net', coalesce(c.net_amount, 0))
            ) as m (measure, actual)
        )

        select null::date as day, measure, name, delivered, expected, actual, row_count, 0 as wrong
        from compared
    """


def _products(system: str) -> str:
    columns = {
        "gross": "gross_amount",
        "discounts": "discount_amount",
        "cancellations": "cancelled_amount",
        "refunds": "refund_amount",
        "net": "net_amount",
    }
    sums = ", ".join(f"coalesce(sum({column}), 0) as {column}" for column in columns.values())
    pairs = ", ".join(f"('{name}', s.{column}, p.{column})" for name, column in columns.items())
    return f"""
        select null::date as day, m.measure, null as name, m.sales as delivered, m.sales as expected,
            m.products as actual, 0 as row_count, 0 as wrong
        from (
            select {sums} from marts_build.sales_summary
            where source_system = {system} and period_type = 'day'
        ) as s
        cross join (
            select {sums} from marts_build.product_performance where source_system = {system}
        ) as p
        cross join lateral (values {pairs}) as m (measure, sales, products)
    """


def _explain_pending(comparisons: Comparisons, step: Step, system: str) -> None:
    """Days whose facts changed after the daily sales were built: the next run takes them in."""
    comparisons.cursor.execute(
        f"""
        select t.day, t.key = '*'
        from ops.touched as t
        where t.model in ('fact_orders', 'fact_order_items', 'fact_returns')
            and (t.source_system = {system} or t.key = '*')
            and t.touched_seq > coalesce(
                (select touched_seq from ops.model_marks where model = 'int_sales_day'), -1
            )
        group by 1, 2
        """
    )
    pending = comparisons.cursor.fetchall()
    if pending:
        is_everything = any(everything for _, everything in pending)
        days = None if is_everything else frozenset(day for day, _ in pending if day is not None)
        comparisons.explain_rest(step, "waiting_for_the_next_run", on_days("day", days))
