"""Checkpoint marts: business rules on what is about to be published (schema `marts_build`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ecommerce_dw.quality.model import (
    Expectation,
    Scope,
    Suite,
    between,
    in_set,
    no_rows,
    unique,
)

_MART_REMEDY = (
    "Nothing is published until it holds. See the rows in marts_build, correct the model, and build the "
    "marts again with `ecommerce-dw build --only marts`."
)


def suites(scope: Scope, published: Sequence[str] = ()) -> tuple[Suite, ...]:
    """The suites of checkpoint marts.

    Args:
        scope: What is looked at.
        published: Tables that are built and have been published before.
    """
    return (
        *((_emptied(published),) if published else ()),
        Suite(
            "customer_summary",
            _batch(scope, "customer_summary", "m.customer_id"),
            tuple(_customer_summary(scope)),
        ),
        Suite(
            "product_performance",
            _batch(scope, "product_performance", "m.product_id"),
            tuple(_product_performance(scope)),
        ),
        Suite(
            "sales_summary",
            _batch(scope, "sales_summary", "m.period_type || '|' || m.period_start::text"),
            tuple(_sales_summary(scope)),
        ),
    )


def _emptied(published: Sequence[str]) -> Suite:
    """Whatever a table is about: a shop that is in it today is not gone from it tomorrow."""
    gone = "\nunion all\n".join(
        f"select '{table}' as table_name, s.source_system from intermediate.int_source_as_of as s "
        f"where exists (select from marts.{table} as m where m.source_system = s.source_system) "
        f"and not exists (select from marts_build.{table} as b where b.source_system = s.source_system)"
        for table in published
    )
    return Suite(
        "published_tables",
        gone,
        (
            no_rows(
                "published_tables.no shop is gone from a table",
                "select table_name, source_system from batch order by table_name, source_system",
                # a list of a small shop's campaign targets may well come to its end
                severity="warning",
                meaning="A table has rows of a shop where it is published, and none where it is built.",
                remedy="It is published so, unless something critical failed, too. Where nobody withdrew the "
                "shop's files, see what the table is made from: `ecommerce-dw explain TABLE`.",
            ),
        ),
    )


def _batch(scope: Scope, table: str, key: str) -> str:
    # A table that was never published is looked at whole.
    if scope.is_everything(table) or table not in scope.published:
        return f"select m.* from marts_build.{table} as m"
    return (
        f"select m.* from marts_build.{table} as m where (m.source_system, {key}) in "
        f"(select t.source_system, t.key from ops.touched as t where {scope.touched(table)})"
    )


def _is_everything(scope: Scope, table: str, *parents: str) -> bool:
    return scope.is_everything(table, *parents) or table not in scope.published


# ---- what every mart keeps -------------------------------------------------------------------------------


def _money(table: str, key: str) -> Iterator[Expectation]:
    columns = f"source_system, {key}"
    yield no_rows(
        f"{table}.net is gross - discounts - cancellations - refunds",
        f"""
        select {columns}, gross_amount, discount_amount, cancelled_amount, refund_amount, net_amount
        from batch
        where net_amount <> gross_amount - discount_amount - cancelled_amount - refund_amount
        order by {columns}
        """,
        severity="critical",
        meaning="net_amount is not what its definition says.",
        remedy=_MART_REMEDY,
    )
    yield no_rows(
        f"{table}.margin is net - cost",
        f"""
        select {columns}, net_amount, cost_amount, margin_amount
        from batch
        where margin_amount is distinct from net_amount - cost_amount
        order by {columns}
        """,
        severity="critical",
        meaning="margin_amount is not net less the cost of what was kept, or is known where the cost is not.",
        remedy=_MART_REMEDY,
    )


def _as_of(table: str, key: str) -> Expectation:
    return no_rows(
        f"{table}.as_of_date is the source's",
        f"""
        select b.source_system, b.{key}, b.as_of_date, a.as_of_date as source_as_of_date
        from batch as b
        left join intermediate.int_source_as_of as a on a.source_system = b.source_system
        where b.as_of_date is distinct from a.as_of_date
        order by b.source_system, b.{key}
        """,
        severity="critical",
        meaning="Rows are computed as of another day than the greatest loaded date of their source.",
        remedy=_MART_REMEDY,
    )


#: Measures of order items, on the day each counts: the same names in every mart.
_ITEM_MEASURES = (
    "unit_count",
    "cancelled_unit_count",
    "gross_amount",
    "discount_amount",
    "cancelled_amount",
    "fee_amount",
    "adjustment_amount",
)
_FROM_ITEMS = """
    sum(case when i.line_type = 'sale' then i.quantity else 0 end) as unit_count,
    sum(i.cancelled_quantity) as cancelled_unit_count,
    sum(i.gross_amount) as gross_amount,
    sum(i.discount_amount) as discount_amount,
    sum(i.cancelled_amount) as cancelled_amount,
    sum(i.fee_amount) as fee_amount,
    sum(i.adjustment_amount) as adjustment_amount
"""


#: Measures of returns that count, on the day of the refund.
_RETURN_MEASURES = ("returned_unit_count", "refund_amount")
_FROM_RETURNS = """
    sum(r.returned_quantity) as returned_unit_count,
    sum(r.refund_amount) as refund_amount
"""


def _differs(measures: tuple[str, ...]) -> str:
    mart = ", ".join(f"b.{name}" for name in measures)
    facts = ", ".join(f"coalesce(f.{name}, 0)" for name in measures)
    return f"({mart}) <> ({facts})"


def _every_member(scope: Scope, table: str, member: str, fact: str) -> Expectation:
    """Every current member of a dimension has its row in the mart about it.

    Args:
        table: The mart.
        member: `customer` or `product`; the dimension and the key are named after it.
        fact: Table whose touched rows name members that have to be looked at.
    """
    key, dimension = f"{member}_id", f"dim_{member}s"
    where = ""
    if not _is_everything(scope, table, dimension, fact):
        where = f"""
            and (d.source_system, d.{key}) in (
                select t.source_system, t.key from ops.touched as t where {scope.touched(dimension)}
                union
                select t.source_system, t.{key}
                from ops.touched as t where {scope.touched(fact)}
            )
        """
    return no_rows(
        f"{table}.every {member} is in it",
        f"""
        select d.source_system, d.{key}
        from warehouse.{dimension} as d
        where
            d.is_current
            and not exists (
                select from marts_build.{table} as m
                where m.source_system = d.source_system and m.{key} = d.{key}
            )
            {where}
        order by d.source_system, d.{key}
        """,
        severity="critical",
        meaning=f"{member.capitalize()}s of the warehouse are missing in the mart.",
        remedy=_MART_REMEDY,
    )


# ---- customer_summary ------------------------------------------------------------------------------------


def _customer_summary(scope: Scope) -> Iterator[Expectation]:
    table = "customer_summary"
    yield unique(table, "source_system", "customer_id", remedy=_MART_REMEDY)
    yield from _money(table, "customer_id")
    for score in ("recency_score", "frequency_score", "monetary_score"):
        yield between(table, score, 1, 5, remedy=_MART_REMEDY)
    yield between(table, "recency_days", 0, remedy=_MART_REMEDY)
    yield no_rows(
        f"{table}.customers with an order that stands are ranked",
        """
        select source_system, customer_id, frequency, recency_score, frequency_score, monetary_score,
            rfm_segment
        from batch
        where (frequency > 0) is distinct from (
            recency_score is not null and frequency_score is not null and monetary_score is not null
            and rfm_segment is not null
        )
        order by source_system, customer_id
        """,
        severity="critical",
        meaning="A customer who bought has no scores or segment, or one who did not has.",
        remedy=_MART_REMEDY,
    )
    yield no_rows(
        f"{table}.rfm_segment is one of the seed's",
        """
        select b.source_system, b.customer_id, b.rfm_segment
        from batch as b
        where
            b.rfm_segment is not null
            and not exists (select from staging.rfm_segments as s where s.segment = b.rfm_segment)
        order by b.source_system, b.customer_id
        """,
        severity="critical",
        meaning="A segment that no seed defines.",
        remedy=_MART_REMEDY,
    )
    yield _as_of(table, "customer_id")
    yield no_rows(
        f"{table}.amounts are those of the facts",
        f"""
        with orders as (
            select
                o.source_system, o.customer_id,
                count(*) filter (where o.order_type = 'sale') as order_count,
                sum(o.shipping_cost) as shipping_amount,
                sum(o.tax_amount) as tax_amount
            from warehouse.fact_orders as o
            where (o.source_system, o.customer_id) in (select b.source_system, b.customer_id from batch as b)
            group by o.source_system, o.customer_id
        ),
        items as (
            select o.source_system, o.customer_id, {_FROM_ITEMS}
            from warehouse.fact_orders as o
            join warehouse.fact_order_items as i
                on i.source_system = o.source_system and i.order_id = o.order_id
                and i.order_date = o.order_date
            where (o.source_system, o.customer_id) in (select b.source_system, b.customer_id from batch as b)
            group by o.source_system, o.customer_id
        ),
        returns as (
            select r.source_system, r.customer_id, {_FROM_RETURNS}
            from warehouse.fact_returns as r
            where (r.source_system, r.customer_id) in (select b.source_system, b.customer_id from batch as b)
            group by r.source_system, r.customer_id
        ),
        facts as (
            select *
            from orders
            left join items using (source_system, customer_id)
            left join returns using (source_system, customer_id)
        )
        select b.source_system, b.customer_id, b.order_count, f.order_count as facts_orders, b.gross_amount,
            f.gross_amount as facts_gross, b.cancelled_amount, f.cancelled_amount as facts_cancelled
        from batch as b
        left join facts as f using (source_system, customer_id)
        where {_differs(("order_count", "shipping_amount", "tax_amount", *_ITEM_MEASURES, *_RETURN_MEASURES))}
        order by b.source_system, b.customer_id
        """,
        severity="critical",
        meaning="A customer's orders or money are not those of the facts.",
        remedy=_MART_REMEDY,
    )
    yield _every_member(scope, table, "customer", "fact_orders")


# ---- product_performance ---------------------------------------------------------------------------------


def _product_performance(scope: Scope) -> Iterator[Expectation]:
    table = "product_performance"
    yield unique(table, "source_system", "product_id", remedy=_MART_REMEDY)
    yield from _money(table, "product_id")
    yield in_set(table, "abc_class", ("A", "B", "C"), remedy=_MART_REMEDY)
    yield in_set(table, "trend", ("rising", "falling", "stable", "new", "inactive"), remedy=_MART_REMEDY)
    yield between(table, "net_share", 0, 1, remedy=_MART_REMEDY)
    yield between(table, "cumulative_net_share", 0, 1, remedy=_MART_REMEDY)
    yield between(table, "health_score", 0, 100, remedy=_MART_REMEDY)
    yield _as_of(table, "product_id")
    measures = tuple(name for name in _ITEM_MEASURES if name not in ("fee_amount", "adjustment_amount"))
    yield no_rows(
        f"{table}.amounts are those of the facts",
        f"""
        with items as (
            select i.source_system, i.product_id, {_FROM_ITEMS}
            from warehouse.fact_order_items as i
            where (i.source_system, i.product_id) in (select b.source_system, b.product_id from batch as b)
            group by i.source_system, i.product_id
        ),
        returns as (
            select r.source_system, r.product_id, {_FROM_RETURNS}
            from warehouse.fact_returns as r
            where (r.source_system, r.product_id) in (select b.source_system, b.product_id from batch as b)
            group by r.source_system, r.product_id
        ),
        facts as (
            select *
            from items
            left join returns using (source_system, product_id)
        )
        select b.source_system, b.product_id, b.unit_count, f.unit_count as facts_units, b.gross_amount,
            f.gross_amount as facts_gross, b.cancelled_amount, f.cancelled_amount as facts_cancelled
        from batch as b
        left join facts as f using (source_system, product_id)
        where {_differs((*measures, *_RETURN_MEASURES))}
        order by b.source_system, b.product_id
        """,
        severity="critical",
        meaning="A product's units or money are not those of the facts.",
        remedy=_MART_REMEDY,
    )
    yield _every_member(scope, table, "product", "fact_order_items")


# ---- sales_summary ---------------------------------------------------------------------------------------


def _sales_summary(scope: Scope) -> Iterator[Expectation]:
    table = "sales_summary"
    key = "period_type, period_start"
    yield unique(table, "source_system", "period_type", "period_start", remedy=_MART_REMEDY)
    yield from _money(table, key)
    yield in_set(table, "period_type", ("day", "week", "month", "quarter"), remedy=_MART_REMEDY)
    yield between(table, "guest_order_share", 0, 1, remedy=_MART_REMEDY)
    yield no_rows(
        f"{table}.period_start begins its period",
        f"""
        select source_system, {key}, period_end
        from batch
        where
            period_type in ('day', 'week', 'month', 'quarter')
            and (
                period_start <> date_trunc(period_type, period_start::timestamp)::date
                or period_end <> (
                    period_start + case period_type
                        when 'day' then interval '1 day'
                        when 'week' then interval '7 days'
                        when 'month' then interval '1 month'
                        else interval '3 months'
                    end
                )::date - 1
            )
        order by source_system, {key}
        """,
        severity="critical",
        meaning="A week, month or quarter begins or ends on the wrong day.",
        remedy=_MART_REMEDY,
    )
    day_measures = ("order_count", "shipping_amount", "tax_amount", *_ITEM_MEASURES, *_RETURN_MEASURES)
    yield no_rows(
        f"{table}.days are those of the facts",
        f"""
        with days as (
            select b.source_system, b.period_start as day from batch as b where b.period_type = 'day'
        ),
        orders as (
            select
                o.source_system, o.order_date as day,
                count(*) filter (where o.order_type = 'sale') as order_count,
                sum(o.shipping_cost) as shipping_amount,
                sum(o.tax_amount) as tax_amount
            from warehouse.fact_orders as o
            where o.order_date in (select d.day from days as d)
            group by o.source_system, o.order_date
        ),
        -- a sale counts on the order's day, what is taken back on the cancellation's
        lines as (
            select
                i.source_system, i.order_date as day, i.line_type, i.quantity, i.gross_amount,
                i.discount_amount, i.fee_amount, i.adjustment_amount, 0 as cancelled_quantity,
                0 as cancelled_amount
            from warehouse.fact_order_items as i
            where i.order_date in (select d.day from days as d)
            union all
            select
                i.source_system, i.cancelled_date, null, 0, 0, 0, 0, 0, i.cancelled_quantity,
                i.cancelled_amount
            from warehouse.fact_order_items as i
            where i.cancelled_date in (select d.day from days as d)
        ),
        items as (
            select i.source_system, i.day, {_FROM_ITEMS}
            from lines as i
            group by i.source_system, i.day
        ),
        returns as (
            select r.source_system, r.returned_date as day, {_FROM_RETURNS}
            from warehouse.fact_returns as r
            where r.returned_date in (select d.day from days as d)
            group by r.source_system, r.returned_date
        ),
        facts as (
            select *
            from orders
            full join items using (source_system, day)
            full join returns using (source_system, day)
        )
        select b.source_system, b.period_start as day, b.order_count, f.order_count as facts_orders,
            b.gross_amount, f.gross_amount as facts_gross, b.cancelled_amount,
            f.cancelled_amount as facts_cancelled
        from batch as b
        left join facts as f on f.source_system = b.source_system and f.day = b.period_start
        where b.period_type = 'day' and {_differs(day_measures)}
        order by b.source_system, b.period_start
        """,
        severity="critical",
        meaning="A day's orders or money are not those of the facts.",
        remedy=_MART_REMEDY,
    )
    sums = ", ".join(f"sum(d.{name}) as {name}" for name in day_measures)
    yield no_rows(
        f"{table}.periods are the sums of their days",
        f"""
        with sums as (
            select b.source_system, b.period_type, b.period_start, {sums}
            from (select distinct source_system, period_type, period_start, period_end from batch) as b
            join marts_build.{table} as d
                on d.source_system = b.source_system and d.period_type = 'day'
                and d.period_start between b.period_start and b.period_end
            where b.period_type <> 'day'
            group by b.source_system, b.period_type, b.period_start
        )
        select b.source_system, b.period_type, b.period_start, b.order_count, f.order_count as days_orders,
            b.gross_amount, f.gross_amount as days_gross
        from batch as b
        left join sums as f using (source_system, period_type, period_start)
        where b.period_type <> 'day' and {_differs(day_measures)}
        order by b.source_system, b.period_type, b.period_start
        """,
        severity="critical",
        meaning="A week, month or quarter is not the sum of its days.",
        remedy=_MART_REMEDY,
    )
    where = ""
    if not _is_everything(scope, table, "fact_orders"):
        where = (
            "where (o.source_system, o.order_date) in (select t.source_system, t.day from ops.touched as t "
            f"where {scope.touched('fact_orders')})"
        )
    yield no_rows(
        f"{table}.every day with orders is in it",
        f"""
        select o.source_system, o.order_date as day, count(*) as order_count
        from warehouse.fact_orders as o
        left join marts_build.{table} as m
            on m.source_system = o.source_system and m.period_type = 'day' and m.period_start = o.order_date
        {where + " and" if where else "where"} m.period_start is null
        group by o.source_system, o.order_date
        order by o.source_system, o.order_date
        """,
        severity="critical",
        meaning="Days on which orders were placed are missing in the mart.",
        remedy=_MART_REMEDY,
    )
