"""From staging to the warehouse: each delivered version against the row that it became."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg2.extensions

from ecommerce_dw.loading.ddl import quote_text
from ecommerce_dw.reconciliation.comparison import Comparisons, Step, on_days
from ecommerce_dw.reconciliation.files import bigint_array
from ecommerce_dw.reconciliation.measures import ROWS
from ecommerce_dw.reconciliation.plan import WAREHOUSE_KEYS, Contracts, Days, Plan

#: Up to so many keys are written into a statement, so that views and partitions are asked for them alone.
_LITERALS = 20_000

_TRAIL = ("version_at", "_business_date", "_path", "_file_id", "_line_number")
_COLUMNS = {
    "orders": ("order_date", "shipping_cost", "tax_amount", "total_amount"),
    "order_items": ("order_id", "line_type", "quantity", "unit_price", "discount_amount", "line_total"),
    "returns": ("order_item_id", "refund_amount"),
}
_DIMENSIONS = {"customers": "stg_orders", "products": "stg_order_items"}
_LATEST_FIRST = 'd.version_at desc, d._business_date desc, d._path collate "C" desc, d._line_number desc'


@dataclass(frozen=True)
class Events:
    """An entity whose rows never change, as a fact has it.

    Attributes:
        fact: The table.
        measures: Name, column of the staging view and column of the fact of each amount.
        needs: Fact and column of what a row waits for.
        waits: Name of the difference while it waits.
    """

    fact: str
    measures: tuple[tuple[str, str, str], ...]
    needs: tuple[str, str]
    waits: str


EVENTS = {
    "returns": Events(
        "fact_returns",
        (("refunds", "refund_amount", "delivered_refund_amount"),),
        ("fact_order_items", "order_item_id"),
        "orphan_return_waiting",
    ),
}


class SourceWarehouse:
    """One source's delivered versions and its rows in the warehouse, in temporary tables.

    Args:
        upto: Greatest load id the warehouse is expected to have taken in; what was loaded later waits.
    """

    def __init__(
        self, comparisons: Comparisons, contracts: Contracts, plan: Plan, source: str, upto: int
    ) -> None:
        self.comparisons = comparisons
        self.cursor: psycopg2.extensions.cursor = comparisons.cursor
        self.contracts = contracts[source]
        self.plan = plan
        self.source = source
        self.system = quote_text(source)
        self.cursor.execute(
            "select coalesce(max(load_id), 0) > %s from raw.load_ledger where source = %s", (upto, source)
        )
        (is_behind,) = self.cursor.fetchone() or (False,)
        later = "select null::text as entity, null::text as key where false"
        if is_behind:
            later = (
                f"select entity, key from staging.stg_touched where source_system = {self.system} "
                f"and load_id > {upto}"
            )
        self._make("later", later)

    # ---- what was delivered --------------------------------------------------------------------------------

    def days(self, entity: str) -> Days:
        """Business dates of the files whose rows of a conformed entity are compared."""
        found: set[dt.date] = set()
        for contract in self.contracts.values():
            if entity in contract.feeds and (self.source, contract.entity) in self.plan.files:
                days = self.plan.files[self.source, contract.entity]
                if days is None:
                    return None
                found |= days
        return frozenset(found)

    def deliver(self, entity: str) -> None:
        """Make `delivered_<entity>`: every version of each key that one of the files has.

        `is_in_scope` says whether the version is in one of the files itself, `recency` 1 is the version in
        effect.
        """
        days, key = self.days(entity), WAREHOUSE_KEYS[entity]
        names = (
            ", ".join(f"i.{name}" for name in (*_COLUMNS[entity], *_TRAIL)) if entity in _COLUMNS else "i.*"
        )
        where, scope = "true", "true"
        if days is not None:
            where, scope = self._only(entity, days)
        recency = f"row_number() over (partition by d.key order by {_LATEST_FIRST})"
        if entity in _DIMENSIONS:
            recency = f"row_number() over (partition by d.key, d.version_at order by {_LATEST_FIRST})"
        elif not self._is_keyed(entity):
            recency = "1"  # a line that is known by its values has one version
        self._make(
            f"delivered_{entity}",
            f"""
            select d.*, {scope} as is_in_scope, {recency} as recency
            from (
                select i.{key} as key, {names} from staging.stg_{entity} as i
                where i.source_system = {self.system} and {where}
            ) as d
            """,
        )

    def _is_keyed(self, entity: str) -> bool:
        return all(contract.primary_key for contract in self.contracts.values() if entity in contract.feeds)

    def _only(self, entity: str, days: frozenset[dt.date]) -> tuple[str, str]:
        """Conditions: versions of the keys that the files of these days name, and those in the files."""
        is_keyed = self._is_keyed(entity)
        entities = ", ".join(
            quote_text(contract.entity) for contract in self.contracts.values() if entity in contract.feeds
        )
        self.cursor.execute(
            f"""
            select file_id, load_id, is_live from pg_temp.files
            where source = {self.system} and entity in ({entities}) and {on_days("business_date", days)}
            """
        )
        files = self.cursor.fetchall()
        scope = f"d._file_id = any({bigint_array([file_id for file_id, _, is_live in files if is_live])})"
        loads = [load_id for _, load_id, _ in files if load_id is not None]
        # a line without a key of its own is known by its order
        touched, column = (entity, WAREHOUSE_KEYS[entity]) if is_keyed else ("orders", "order_id")
        if not is_keyed and entity in _DIMENSIONS:
            touched, column = entity, WAREHOUSE_KEYS[entity]
        # with the keys of rows that were taken out: the warehouse may still have them
        self._make(
            f"touched_{entity}",
            f"""
            select distinct key from staging.stg_touched
            where source_system = {self.system} and entity = {quote_text(touched)}
                and load_id = any({bigint_array(loads)})
            """,
        )
        keys = self._keys(f"select key from pg_temp.touched_{entity}")
        return self._among(f"i.{column}", keys, is_pushed=is_keyed), scope

    def _keys(self, query: str) -> list[str]:
        self._make("keys", query)
        self.cursor.execute("select key from pg_temp.keys where key is not null")
        return [key for (key,) in self.cursor]

    def _among(self, column: str, keys: Sequence[str], *, is_pushed: bool = True) -> str:
        """Condition: a column is one of these keys, which are also in the temporary table `keys`."""
        if len(keys) > _LITERALS:
            # A view that numbers lines is not asked for the keys of a table: it would number all anyway.
            return f"{column} in (select key from pg_temp.keys)" if is_pushed else "true"
        return f"{column} = any({self._text_array(keys)})"

    def _text_array(self, keys: Sequence[str]) -> str:
        return self.cursor.mogrify("%s::text[]", (list(keys),)).decode()

    def _make(self, name: str, query: str) -> None:
        self.cursor.execute(f"drop table if exists pg_temp.{name}")
        self.cursor.execute(f"create temporary table {name} on commit drop as {query}")
        self.cursor.execute(f"analyze pg_temp.{name}")

    def _step(self, entity: str, table: str) -> Step:
        return Step(
            self.source,
            entity,
            "staging",
            "warehouse",
            f"staging.stg_{entity}",
            f"warehouse.{table}",
            self.days(entity),
        )

    # ---- facts ---------------------------------------------------------------------------------------------

    def compare_orders(self) -> None:
        """Delivered versions of orders against `fact_orders`."""
        self._hold(
            "orders",
            "f.order_id as key, f.order_date, f.shipping_cost, f.tax_amount, f.total_amount",
            dates="select distinct order_date from pg_temp.delivered_orders",
            gone="select key from pg_temp.touched_orders except select key from pg_temp.delivered_orders",
            column="order_id",
        )
        self._find_invented("orders", "f.key", "v.order_id")
        is_later = "{0}.key in (select key from pg_temp.later where entity = 'orders')"
        values = "('rows', 1::numeric, (f.key is not null)::integer::numeric), " + ", ".join(
            f"('{measure}', coalesce(d.{column}, 0), coalesce(f.{column}, 0))"
            for measure, column in (
                ("shipping", "shipping_cost"),
                ("tax", "tax_amount"),
                ("total", "total_amount"),
            )
        )
        self.comparisons.add(
            self._step("orders", "fact_orders"),
            f"""
            with judged as (
                select
                    d._business_date as day,
                    m.measure,
                    case
                        when d.recency > 1 then 'superseded_version'
                        when {is_later.format("d")} then 'waiting_for_the_next_run'
                        when m.delivered <> round(m.delivered, 4) then 'rounding'
                    end as name,
                    m.delivered,
                    m.actual
                from pg_temp.delivered_orders as d
                left join pg_temp.held_orders as f on f.key = d.key and d.recency = 1
                cross join lateral (values {values}) as m (measure, delivered, actual)
                where d.is_in_scope
            ),

            expected as (
                select *, {_expected("round(delivered, 4)")} as expected from judged
            )

            select day, measure, name, delivered, expected, actual, 1 as row_count,
                (expected <> actual)::integer as wrong
            from expected
            {
                _invented(
                    "orders",
                    is_later.format("f"),
                    (("shipping", "f.shipping_cost"), ("tax", "f.tax_amount"), ("total", "f.total_amount")),
                )
            }
            """,
        )

    def compare_order_items(self) -> None:
        """Delivered versions of order items against `fact_order_items`."""
        days = self.days("order_items")
        if days is None and self.days("orders") is None:
            self._make(
                "known_orders", "select distinct key as order_id, order_date from pg_temp.delivered_orders"
            )
        else:
            among = "true"
            if days is not None:
                among = self._among(
                    "v.order_id",
                    self._keys("select distinct order_id as key from pg_temp.delivered_order_items"),
                )
            self._make(
                "known_orders",
                f"select distinct v.order_id, v.order_date from staging.stg_orders as v "
                f"where v.source_system = {self.system} and {among}",
            )
        column = "order_item_id" if self._is_keyed("order_items") else "order_id"
        delivered = "key" if column == "order_item_id" else "order_id"
        self._hold(
            "order_items",
            "f.order_item_id as key, f.order_id, f.gross_amount, f.discount_amount, f.line_total",
            dates="select distinct order_date from pg_temp.known_orders",
            gone="select key from pg_temp.touched_order_items "
            f"except select {delivered} from pg_temp.delivered_order_items",
            column=column,
        )
        self._find_invented("order_items", "f.order_id", "v.order_id")
        is_later = (
            "({0}.order_id in (select key from pg_temp.later where entity = 'orders') "
            "or {0}.key in (select key from pg_temp.later where entity = 'order_items'))"
        )
        self.comparisons.add(
            self._step("order_items", "fact_order_items"),
            f"""
            with versions as (
                select
                    d._business_date as day,
                    d.line_type,
                    case
                        when d.recency > 1 then 'superseded_version'
                        when {is_later.format("d")} then 'waiting_for_the_next_run'
                        when f.key is null and not exists (
                            select from pg_temp.known_orders as o where o.order_id = d.order_id
                        ) then 'orphan_item_waiting'
                    end as state,
                    d.quantity * d.unit_price as gross,
                    coalesce(d.discount_amount, 0) as discounts,
                    coalesce(d.line_total, 0) as total,
                    f.key is not null as is_held,
                    coalesce(f.gross_amount, 0) as held_gross,
                    coalesce(f.discount_amount, 0) as held_discounts,
                    coalesce(f.line_total, 0) as held_total,
                    coalesce(f.order_id <> d.order_id, false) as is_elsewhere
                from pg_temp.delivered_order_items as d
                left join pg_temp.held_order_items as f on f.key = d.key and d.recency = 1
                where d.is_in_scope
            ),

            -- what the warehouse keeps of a version in effect
            kept as (
                select
                    *,
                    case when line_type = 'sale' then round(gross, 4) else 0 end as kept_gross,
                    case when line_type = 'sale' then round(discounts, 4) else 0 end as kept_discounts,
                    case when line_type <> 'zero_priced' then round(total, 4) else 0 end as kept_total
                from versions
            ),

            -- few groups: all measures of half a million lines one by one would cost ten times as much
            grouped as (
                select
                    day,
                    state,
                    line_type,
                    gross <> kept_gross as is_other_gross,
                    discounts <> kept_discounts as is_other_discounts,
                    total <> kept_total as is_other_total,
                    count(*) as row_count,
                    count(*) filter (where is_held) as held_rows,
                    count(*) filter (where is_elsewhere) as elsewhere,
                    {
                ", ".join(
                    f"sum({m}) as {m}, sum(kept_{m}) as kept_{m}, sum(held_{m}) as held_{m}, "
                    f"count(*) filter (where held_{m} <> kept_{m}) as wrong_{m}, "
                    f"count(*) filter (where held_{m} <> 0) as present_{m}"
                    for m in ("gross", "discounts", "total")
                )
            }
                from kept
                group by 1, 2, 3, 4, 5, 6
            ),

            judged as (
                select
                    g.day,
                    m.measure,
                    coalesce(g.state, case
                        when not m.is_other then null
                        when g.line_type = 'sale' then 'rounding'
                        when g.line_type = 'cancellation' then 'cancellation_line'
                        when g.line_type in ('fee', 'adjustment', 'zero_priced') then g.line_type
                    end) as name,
                    m.delivered,
                    m.kept,
                    m.actual,
                    g.row_count,
                    case
                        when g.state = 'waiting_for_the_next_run' then 0
                        when g.state is not null then m.present
                        else m.wrong
                    end as wrong
                from grouped as g
                cross join lateral (
                    values
                        (
                            '{ROWS}', g.row_count::numeric, g.row_count::numeric, g.held_rows::numeric, false,
                            g.row_count - g.held_rows + g.elsewhere, g.held_rows
                        ),
                        {
                ", ".join(
                    f"('{m}', g.{m}, g.kept_{m}, g.held_{m}, g.is_other_{m}, g.wrong_{m}, g.present_{m})"
                    for m in ("gross", "discounts", "total")
                )
            }
                ) as m (measure, delivered, kept, actual, is_other, wrong, present)
            )

            select day, measure, name, delivered, {_expected("kept")} as expected, actual, row_count, wrong
            from judged
            {
                _invented(
                    "order_items",
                    is_later.format("f"),
                    (
                        ("gross", "f.gross_amount"),
                        ("discounts", "f.discount_amount"),
                        ("total", "f.line_total"),
                    ),
                )
            }
            """,
        )

    def compare_events(self, entity: str) -> None:
        """Delivered versions of an entity whose rows never change against its fact, by their keys."""
        events, key = EVENTS[entity], WAREHOUSE_KEYS[entity]
        among = "true"
        if self.days(entity) is not None:
            named = [f"select key from pg_temp.{kind}_{entity}" for kind in ("delivered", "touched")]
            among = self._among(f"f.{key}", self._keys(" union ".join(named)))
        columns = ", ".join(f"f.{held}" for _, _, held in events.measures)
        self._make(
            f"held_{entity}",
            f"select f.{key} as key, {columns} from warehouse.{events.fact} as f "
            f"where f.source_system = {self.system} and {among}",
        )
        self._make(
            f"invented_{entity}",
            f"""
            select f.* from pg_temp.held_{entity} as f
            where not exists (select from pg_temp.delivered_{entity} as d where d.key = f.key)
            """,
        )
        is_later = f"{{0}}.key in (select key from pg_temp.later where entity = '{entity}')"
        needed, column = events.needs
        values = ", ".join(
            ["('rows', 1::numeric, (f.key is not null)::integer::numeric)"]
            + [
                f"('{measure}', coalesce(d.{delivered}, 0), coalesce(f.{held}, 0))"
                for measure, delivered, held in events.measures
            ]
        )
        self.comparisons.add(
            self._step(entity, events.fact),
            f"""
            with judged as (
                select
                    d._business_date as day,
                    m.measure,
                    case
                        when d.recency > 1 then 'superseded_version'
                        when {is_later.format("d")} then 'waiting_for_the_next_run'
                        when f.key is null and not exists (
                            select from warehouse.{needed} as n
                            where n.source_system = {self.system} and n.{column} = d.{column}
                        ) then '{events.waits}'
                        when m.delivered <> round(m.delivered, 4) then 'rounding'
                    end as name,
                    m.delivered,
                    m.actual
                from pg_temp.delivered_{entity} as d
                left join pg_temp.held_{entity} as f on f.key = d.key and d.recency = 1
                cross join lateral (values {values}) as m (measure, delivered, actual)
                where d.is_in_scope
            ),

            expected as (
                select *, {_expected("round(delivered, 4)", events.waits)} as expected from judged
            )

            select day, measure, name, delivered, expected, actual, 1 as row_count,
                (expected <> actual)::integer as wrong
            from expected
            {
                _invented(
                    entity,
                    is_later.format("f"),
                    [(measure, f"f.{held}") for measure, _, held in events.measures],
                )
            }
            """,
        )

    def _hold(self, entity: str, columns: str, *, dates: str, gone: str, column: str) -> None:
        """Make `held_<entity>`: the fact's rows that are compared.

        Args:
            dates: SELECT of the delivered orders' dates: only these partitions are read.
            gone: SELECT of the keys that loads touched and no file delivers any more.
            column: What these keys are in the fact.
        """
        fact = f"select {columns} from warehouse.fact_{entity} as f where f.source_system = {self.system}"
        if self.days(entity) is None:
            self._make(f"held_{entity}", fact)
            return
        self.cursor.execute(dates)
        days = frozenset(day for (day,) in self.cursor)
        query = f"{fact} and {on_days('f.order_date', days)}"
        keys = self._keys(gone)
        if keys:
            query += f" union {fact} and {self._among(f'f.{column}', keys)}"
        self._make(f"held_{entity}", query)

    def _find_invented(self, entity: str, order: str, delivered_order: str) -> None:
        """Make `invented_<entity>`: held rows that no loaded file delivered."""
        self._make(
            f"invented_{entity}",
            f"""
            select f.* from pg_temp.held_{entity} as f
            where not exists (select from pg_temp.delivered_{entity} as d where d.key = f.key)
            """,
        )
        if self.days(entity) is not None:  # the file may be one of another day
            orders = self._keys(f"select distinct {order} as key from pg_temp.invented_{entity} as f")
            if orders:
                self.cursor.execute(
                    f"""
                    delete from pg_temp.invented_{entity} as f
                    using staging.stg_{entity} as v
                    where v.source_system = {self.system} and v.{WAREHOUSE_KEYS[entity]} = f.key
                        and {self._among(delivered_order, orders)}
                    """
                )

    # ---- dimensions ----------------------------------------------------------------------------------------

    def compare_dimension(self, entity: str) -> None:
        """Delivered versions of customers or products against the intervals of their dimension."""
        key, dimension = WAREHOUSE_KEYS[entity], f"dim_{entity}"
        among = "true"
        if self.days(entity) is not None:
            among = self._among(
                f"v.{key}", self._keys(f"select distinct key from pg_temp.delivered_{entity}")
            )
        self._make(
            f"held_{entity}",
            f"""
            select v.*, v.{key} as key from warehouse.{dimension} as v
            where v.source_system = {self.system} and (v.is_inferred or {among})
            """,
        )
        self.cursor.execute(
            """
            select d.attname, format_type(d.atttypid, d.atttypmod)
            from pg_attribute as d
            join pg_attribute as s
                on s.attrelid = %s::regclass and s.attname = d.attname and s.attnum > 0 and not s.attisdropped
            where d.attrelid = %s::regclass and d.attnum > 0 and not d.attisdropped
                and d.attname not in ('source_system', 'version_at', %s)
            """,
            (f"staging.stg_{entity}", f"warehouse.{dimension}", key),
        )
        same = " and ".join(
            f"v.{name} is not distinct from d.{name}::{type_}" for name, type_ in self.cursor.fetchall()
        )
        is_later = f"{{0}}.key in (select key from pg_temp.later where entity = '{entity}')"
        self._find_inferred(entity)
        self.comparisons.add(
            self._step(entity, dimension),
            f"""
            with judged as (
                select
                    d._business_date as day,
                    case
                        when d.recency > 1 then 'superseded_version'
                        when {is_later.format("d")} then 'waiting_for_the_next_run'
                        when v.version_at <> d.version_at and ({same}) then 'unchanged_version'
                    end as name,
                    1 as delivered,
                    coalesce(v.version_at = d.version_at, false)::integer as actual,
                    coalesce(v.version_at = d.version_at and not ({same}), false) as is_other
                from pg_temp.delivered_{entity} as d
                left join pg_temp.held_{entity} as v
                    on v.key = d.key and not v.is_inferred and d.recency = 1
                    and d.version_at >= v.valid_from and d.version_at < v.valid_to
                where d.is_in_scope
            ),

            expected as (
                select *, {_expected("1")} as expected from judged
            )

            select day, '{ROWS}' as measure, name, delivered, expected, actual, 1 as row_count,
                (expected <> actual or (is_other and name is null))::integer as wrong
            from expected
            union all
            select null, '{ROWS}', case when {is_later.format("v")} then 'waiting_for_the_next_run' end, 0,
                case when {is_later.format("v")} then 1 else 0 end, 1, 1,
                case when {is_later.format("v")} then 0 else 1 end
            from pg_temp.held_{entity} as v
            where not v.is_inferred
                and not exists (
                    select from pg_temp.delivered_{entity} as d
                    where d.key = v.key and d.version_at = v.version_at
                )
            union all
            select null, '{ROWS}',
                case
                    when {is_later.format("v")} then 'waiting_for_the_next_run'
                    when v.is_due then 'inferred_member'
                end,
                0, case when {is_later.format("v")} or v.is_due then 1 else 0 end, 1, 1,
                case when {is_later.format("v")} or v.is_due then 0 else 1 end
            from pg_temp.inferred as v
            """,
        )

    def _find_inferred(self, entity: str) -> None:
        """Make `inferred`: inferred members, and whether orders name them and no file delivered them."""
        key, naming = WAREHOUSE_KEYS[entity], _DIMENSIONS[entity]
        members = self._keys(f"select key from pg_temp.held_{entity} where is_inferred")
        if not members:
            self._make("inferred", "select null::text as key, false as is_due where false")
            return
        among = self._among(f"v.{key}", members)
        self._make(
            "named",
            f"select distinct v.{key} as key from staging.{naming} as v "
            f"where v.source_system = {self.system} and {among}",
        )
        self._make(
            "inferred",
            f"""
            select k.key, k.key in (select key from pg_temp.named) and k.key not in (
                select v.{key} from staging.stg_{entity} as v
                where v.source_system = {self.system} and {among}
            ) as is_due
            from pg_temp.keys as k
            """,
        )


def _expected(kept: str, waits: str = "orphan_item_waiting") -> str:
    """SQL: what the warehouse must have of a judged version, where a version in effect is worth `kept`."""
    return f"""
        case
            when name = 'waiting_for_the_next_run' then actual
            when name in ('superseded_version', 'unchanged_version', '{waits}') then 0
            else {kept}
        end
    """


def _invented(entity: str, is_later: str, amounts: Sequence[tuple[str, str]]) -> str:
    """SQL: comparisons of held rows that no file delivered; of no day, since no file has them."""
    values = ", ".join(
        [f"('{ROWS}', 1::numeric)", *(f"('{measure}', {column})" for measure, column in amounts)]
    )
    return f"""
        union all
        select null, m.measure, case when {is_later} then 'waiting_for_the_next_run' end, 0,
            case when {is_later} then m.actual else 0 end, m.actual, 1, case when {is_later} then 0 else 1 end
        from pg_temp.invented_{entity} as f
        cross join lateral (values {values}) as m (measure, actual)
    """
