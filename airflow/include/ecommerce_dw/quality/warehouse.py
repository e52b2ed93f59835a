"""Checkpoint warehouse: keys, references, point in time, and reconciliation from the file on.

Facts are looked at by touched orders: those that loads touched, those the models replaced, and those inside
an interval of a dimension that changed. So a change the models missed is seen as well as one they made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ecommerce_dw import db
from ecommerce_dw.quality import reconciled
from ecommerce_dw.quality.model import (
    BUILD_REMEDY,
    Expectation,
    Scope,
    Suite,
    in_set,
    no_rows,
    not_null,
    unique,
)
from ecommerce_dw.settings import Settings

if TYPE_CHECKING:
    from ecommerce_dw.contracts.model import Contract

LINE_TYPES = ("sale", "cancellation", "fee", "adjustment", "zero_priced")
#: Up to so many touched orders are written into the statements, so that partitions and indexes are used.
_LITERALS = 5_000


def suites(
    settings: Settings,
    scope: Scope,
    contracts: Mapping[str, Mapping[str, Contract]],
    connection: db.Connection,
) -> tuple[Suite, ...]:
    """The suites of checkpoint warehouse; what they look at is reconciled on the way.

    Args:
        settings: Whose warehouse.
        scope: What to look at.
        contracts: Source → entity → contract.
        connection: Of a role that reads warehouse and staging.
    """
    orders = _touched_orders(scope, connection)
    measurement = reconciled.measure_warehouse(
        settings, connection, contracts, scope, None if orders.is_everything else orders.condition("v")
    )
    return (
        _dimension(scope, "dim_customers", "customer"),
        _dimension(scope, "dim_products", "product"),
        Suite(
            "fact_orders",
            f"select f.* from warehouse.fact_orders as f where {orders.condition('f')}",
            tuple(_fact_orders()),
        ),
        Suite(
            "fact_order_items",
            f"select f.* from warehouse.fact_order_items as f where {orders.condition('f')}",
            tuple(_fact_order_items()),
        ),
        Suite(
            "fact_returns",
            _touched_rows(scope, "fact_returns", "return_id"),
            tuple(_fact_returns()),
        ),
        reconciled.suite(measurement, "warehouse"),
    )


# ---- which rows ------------------------------------------------------------------------------------------


class _Orders:
    """The touched orders as a condition on `source_system` and `order_id`.

    Args:
        keys: Source system → order ids, or None for every order.
        query: SELECT of both columns, where there are too many to write out.
    """

    def __init__(self, keys: Mapping[str, list[str]] | None, query: str | None = None) -> None:
        self.keys = keys
        self.query = query

    @property
    def is_everything(self) -> bool:
        """Whether every order is looked at."""
        return self.keys is None and self.query is None

    def condition(self, alias: str) -> str:
        """The condition for a relation of this alias."""
        if self.query is not None:
            return f"({alias}.source_system, {alias}.order_id) in ({self.query})"
        if self.keys is None:
            return "true"
        parts = [
            f"({alias}.source_system = {_text(source)} "
            f"and {alias}.order_id in ({', '.join(map(_text, ids))}))"
            for source, ids in sorted(self.keys.items())
        ]
        return f"({' or '.join(parts)})" if parts else "false"


def _touched_orders(scope: Scope, connection: db.Connection) -> _Orders:
    if scope.is_everything("fact_orders", "fact_order_items", "dim_customers", "dim_products"):
        return _Orders(None)
    loaded = f"t.load_id > {scope.since} and t.load_id <= {scope.upto}"
    query = f"""
        select t.source_system, t.key as order_id
        from staging.stg_touched as t
        where t.entity = 'orders' and {loaded}
        union
        select t.source_system, t.key from ops.touched as t where {scope.touched("fact_orders")}
        union
        select i.source_system, i.order_id
        from ops.touched as t
        join warehouse.fact_order_items as i
            on i.source_system = t.source_system and i.order_item_id = t.key and i.order_date = t.day
        where {scope.touched("fact_order_items")}
        union
        select o.source_system, o.order_id
        from ops.touched as t
        join warehouse.fact_orders as o
            on o.source_system = t.source_system and o.customer_id = t.key and o.ordered_at >= t.changed_from
        where {scope.touched("dim_customers")}
        union
        select i.source_system, i.order_id
        from ops.touched as t
        join warehouse.fact_order_items as i
            on i.source_system = t.source_system and i.product_id = t.key and i.ordered_at >= t.changed_from
        where {scope.touched("dim_products")}
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(f"select * from ({query}) as touched limit %s", (_LITERALS + 1,))
        rows = cursor.fetchall()
    # Characters that statements give a meaning of their own are not written out.
    if len(rows) > _LITERALS or any(set(":%{}\\") & set(source + key) for source, key in rows):
        return _Orders(None, " ".join(query.split()))
    keys: dict[str, list[str]] = {}
    for source, key in rows:
        keys.setdefault(source, []).append(key)
    return _Orders({source: sorted(ids) for source, ids in keys.items()})


# ---- dimensions ------------------------------------------------------------------------------------------


def _dimension(scope: Scope, table: str, member: str) -> Suite:
    key = f"{member}_id"
    where = ""
    if not scope.is_everything(table):
        where = (
            " where exists (select from ops.touched as t where t.source_system = d.source_system "
            f"and t.key = d.{key} and {scope.touched(table)})"
        )
    expectations = (
        unique(table, f"{member}_key"),
        not_null(table, f"{member}_key"),
        no_rows(
            f"{table}.versions neither overlap nor leave gaps",
            f"""
            with versions as (
                select
                    source_system, {key}, valid_from, valid_to,
                    lag(valid_to) over versions as earlier_valid_to,
                    lead(valid_from) over versions as later_valid_from
                from batch
                window versions as (partition by source_system, {key} order by valid_from, valid_to)
            )
            select source_system, {key}, valid_from::text, valid_to::text, later_valid_from::text
            from versions
            where
                valid_from >= valid_to
                or coalesce(earlier_valid_to, '-infinity') <> valid_from
                or coalesce(later_valid_from, 'infinity') <> valid_to
            order by source_system, {key}, versions.valid_from
            """,
            severity="critical",
            meaning=f"The intervals of a {member}'s versions do not follow one another from -infinity to "
            "infinity: an event would find no version, or two.",
            remedy=BUILD_REMEDY,
        ),
        no_rows(
            f"{table}.is_current marks the last version",
            f"""
            select source_system, {key}, valid_from::text, valid_to::text, is_current
            from batch
            where is_current <> (valid_to = 'infinity')
            order by source_system, {key}, batch.valid_from
            """,
            severity="critical",
            meaning=f"is_current does not mark exactly the version of a {member} that is valid to infinity.",
            remedy=BUILD_REMEDY,
        ),
    )
    return Suite(table, f"select d.* from warehouse.{table} as d{where}", expectations)


# ---- facts -----------------------------------------------------------------------------------------------


def _unique_in_fact(table: str, *columns: str) -> Expectation:
    """Over all partitions: the other row of the same key need not be a touched one."""
    names = ", ".join(f"f.{column}" for column in columns)
    same = " and ".join(f"b.{column} = f.{column}" for column in columns)
    if columns == (table.removeprefix("fact_").removesuffix("s") + "_key",):
        # Only the business key is indexed; rows of the same surrogate key and another business key are
        # looked for among the touched ones.
        source = "batch as f"
    else:
        source = f"warehouse.{table} as f where exists (select from batch as b where {same})"
    return no_rows(
        f"{table}.{', '.join(columns)} is unique",
        f"select {names}, count(*) as row_count from {source} group by {names} having count(*) > 1 "
        f"order by {names}",
        severity="critical",
        meaning=f"Two rows of {table} have the same {', '.join(columns)}: their amounts count twice.",
        remedy=BUILD_REMEDY,
    )


def _member_expectations(fact: str, business_key: str, member: str, columns: str) -> Iterator[Expectation]:
    """A fact points at a version of its own member, and at the one valid when the event happened."""
    key, dimension = f"{member}_key", f"dim_{member}s"
    yield no_rows(
        f"{fact}.{key} points at its {member}",
        f"""
        select f.source_system, f.{business_key}, f.{member}_id, f.{key}, d.{member}_id as points_at
        from batch as f
        left join warehouse.{dimension} as d on d.{key} = f.{key}
        where
            (f.{member}_id is not null or f.{key} is not null)
            and (d.source_system, d.{member}_id) is distinct from (f.source_system, f.{member}_id)
        order by f.source_system, f.{business_key}
        """,
        severity="critical",
        meaning=f"{columns} point at no row of {dimension}, or at another {member}.",
        remedy=BUILD_REMEDY,
    )
    yield no_rows(
        f"{fact}.{key} was valid when the order was placed",
        f"""
        select f.source_system, f.{business_key}, f.{member}_id, f.ordered_at,
            d.valid_from::text, d.valid_to::text
        from batch as f
        join warehouse.{dimension} as d
            on d.{key} = f.{key} and d.source_system = f.source_system and d.{member}_id = f.{member}_id
        where f.ordered_at < d.valid_from or f.ordered_at >= d.valid_to
        order by f.source_system, f.{business_key}
        """,
        severity="critical",
        meaning=f"{columns} point at a version of the {member} that was not valid at ordered_at.",
        remedy=BUILD_REMEDY,
    )


def _fact_orders() -> Iterator[Expectation]:
    table = "fact_orders"
    yield _unique_in_fact(table, "order_key")
    yield _unique_in_fact(table, "source_system", "order_id")
    yield from _member_expectations(table, "order_id", "customer", "Orders")
    yield no_rows(
        f"{table}.order_date is in dim_date",
        """
        select f.order_date, count(*) as order_count
        from batch as f
        where not exists (select from warehouse.dim_date as d where d.date_day = f.order_date)
        group by f.order_date
        order by f.order_date
        """,
        severity="critical",
        meaning="Orders are placed on days the calendar does not have.",
        remedy="See whether the dates in the file are right (a year mistyped?); ask the producer for a "
        "corrected file, or extend dim_date.",
    )
    yield no_rows(
        f"{table}.is_guest tells whether there is no customer",
        """
        select source_system, order_id, customer_id, customer_key, is_guest
        from batch
        where is_guest <> (customer_id is null)
        order by source_system, order_id
        """,
        severity="critical",
        meaning="An order is taken for a guest's although it has a customer, or the other way round.",
        remedy=BUILD_REMEDY,
    )
    yield no_rows(
        f"{table}.cancelled orders say when",
        """
        select source_system, order_id, order_type, order_status, cancelled_at, cancelled_date
        from batch
        where
            (order_type = 'cancellation' or order_status = 'cancelled')
            is distinct from (cancelled_at is not null)
            or (cancelled_at is null) <> (cancelled_date is null)
        order by source_system, order_id
        """,
        severity="critical",
        meaning="A cancelled order has no cancellation date, or one that stands has one.",
        remedy=BUILD_REMEDY,
    )
    yield no_rows(
        f"{table}.currency is one per source",
        """
        select source_system, count(distinct currency) as currencies, min(currency) as one,
            max(currency) as another
        from batch
        group by source_system
        having count(distinct currency) > 1
        """,
        severity="critical",
        meaning="Amounts of one shop are in several currencies, and sums would add them up.",
        remedy="Rows in another currency are rejected at load: see the contract's currency, and the files.",
    )
    yield no_rows(
        f"{table}.amounts are those of its items",
        """
        with items as (
            select
                i.source_system,
                i.order_id,
                count(*) as item_count,
                sum(i.gross_amount) as gross_amount,
                sum(i.discount_amount) as discount_amount,
                sum(i.fee_amount) as fee_amount,
                sum(i.adjustment_amount) as adjustment_amount,
                sum(i.cancelled_amount) as cancelled_amount
            from warehouse.fact_order_items as i
            where (i.source_system, i.order_id) in (select b.source_system, b.order_id from batch as b)
            group by i.source_system, i.order_id
        )
        select
            f.source_system, f.order_id, f.item_count, coalesce(i.item_count, 0) as items_there,
            f.gross_amount, i.gross_amount as items_gross, f.cancelled_amount,
            i.cancelled_amount as items_cancelled
        from batch as f
        left join items as i using (source_system, order_id)
        where
            (f.item_count, f.gross_amount, f.discount_amount, f.fee_amount, f.adjustment_amount,
                f.cancelled_amount)
            <> (coalesce(i.item_count, 0), coalesce(i.gross_amount, 0), coalesce(i.discount_amount, 0),
                coalesce(i.fee_amount, 0), coalesce(i.adjustment_amount, 0), coalesce(i.cancelled_amount, 0))
        order by f.source_system, f.order_id
        """,
        severity="critical",
        meaning="An order's number of items or its amounts are not those of its rows in fact_order_items.",
        remedy=BUILD_REMEDY,
    )


def _fact_order_items() -> Iterator[Expectation]:
    table = "fact_order_items"
    yield _unique_in_fact(table, "order_item_key")
    yield _unique_in_fact(table, "source_system", "order_item_id")
    yield no_rows(
        f"{table}.order_key points at its order",
        """
        select f.source_system, f.order_item_id, f.order_id, f.order_key, f.order_date, f.customer_id
        from batch as f
        left join warehouse.fact_orders as o
            on o.source_system = f.source_system and o.order_id = f.order_id and o.order_date = f.order_date
        where
            (o.order_key, o.ordered_at, o.customer_id, o.customer_key, o.is_guest, o.currency)
            is distinct from
            (f.order_key, f.ordered_at, f.customer_id, f.customer_key, f.is_guest, f.currency)
        order by f.source_system, f.order_item_id
        """,
        severity="critical",
        meaning="An item's order is not in fact_orders, or says another date, customer or currency.",
        remedy=BUILD_REMEDY,
    )
    yield from _member_expectations(table, "order_item_id", "product", "Items")
    yield in_set(table, "line_type", LINE_TYPES)
    yield no_rows(
        f"{table}.unit_cost is that of the product's version",
        """
        select f.source_system, f.order_item_id, f.product_id, f.unit_cost, p.cost
        from batch as f
        join warehouse.dim_products as p on p.product_key = f.product_key
        where f.unit_cost is distinct from p.cost
        order by f.source_system, f.order_item_id
        """,
        severity="critical",
        meaning="An item's cost is not the one its version of the product had: the margin is wrong.",
        remedy=BUILD_REMEDY,
    )
    yield no_rows(
        f"{table}.amounts follow from the kind of line",
        """
        select source_system, order_item_id, line_type, quantity, unit_price, gross_amount, discount_amount,
            line_total, cancelled_amount, fee_amount, adjustment_amount
        from batch
        where
            gross_amount <> case when line_type = 'sale' then (quantity * unit_price) else 0 end
            or (discount_amount <> 0 and line_type <> 'sale')
            or fee_amount <> case when line_type = 'fee' then line_total else 0 end
            or adjustment_amount <> case when line_type = 'adjustment' then line_total else 0 end
            or (line_type = 'zero_priced' and line_total <> 0)
            or cancelled_amount <> case
                when line_type = 'cancellation' then -line_total
                when line_type = 'sale' and cancelled_date is not null then gross_amount - discount_amount
                else 0
            end
        order by source_system, order_item_id
        """,
        severity="critical",
        meaning="Of one line's money something counts under two names, or under none.",
        remedy=BUILD_REMEDY,
    )


def _touched_rows(scope: Scope, table: str, key: str) -> str:
    rows = f"select f.* from warehouse.{table} as f"
    if scope.is_everything(table):
        return rows
    return (
        f"{rows} where (f.source_system, f.{key}) in "
        f"(select t.source_system, t.key from ops.touched as t where {scope.touched(table)})"
    )


def _fact_returns() -> Iterator[Expectation]:
    table = "fact_returns"
    yield _unique_in_fact(table, "return_key")
    yield _unique_in_fact(table, "source_system", "return_id")
    yield no_rows(
        f"{table}.order_item_key points at its item",
        """
        select f.source_system, f.return_id, f.order_item_id, f.order_date, f.product_key, f.customer_key
        from batch as f
        left join warehouse.fact_order_items as i
            on i.source_system = f.source_system and i.order_item_id = f.order_item_id
            and i.order_date = f.order_date
        where
            (i.order_item_key, i.order_key, i.product_key, i.customer_key, i.unit_cost, i.currency)
            is distinct from
            (f.order_item_key, f.order_key, f.product_key, f.customer_key, f.unit_cost, f.currency)
        order by f.source_system, f.return_id
        """,
        severity="critical",
        meaning="A return's item is not there, or says another order, product, customer or cost.",
        remedy=BUILD_REMEDY,
    )
    yield no_rows(
        f"{table}.nothing is taken back twice",
        """
        select f.source_system, f.return_id, f.is_counted, f.delivered_refund_amount, f.refund_amount,
            i.cancelled_amount
        from batch as f
        join warehouse.fact_order_items as i
            on i.source_system = f.source_system and i.order_item_id = f.order_item_id
            and i.order_date = f.order_date
        where
            f.is_counted <> (i.line_type = 'sale' and i.cancelled_date is null)
            or f.refund_amount <> case when f.is_counted then f.delivered_refund_amount else 0 end
        order by f.source_system, f.return_id
        """,
        severity="critical",
        meaning="A refund counts beside the cancellation of its order, or one that stands does not count.",
        remedy=BUILD_REMEDY,
    )


def _text(value: str) -> str:
    quoted = value.replace("'", "''")
    return f"'{quoted}'"
