"""Which days of which files and sales are reconciled."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from ecommerce_dw import db
from ecommerce_dw.contracts.model import Contract

Contracts = Mapping[str, Mapping[str, Contract]]
#: Days, or None for all of them.
Days = frozenset[dt.date] | None

#: Conformed entities that the warehouse takes in, in the order in which they are compared, with their key.
WAREHOUSE_KEYS = {
    "orders": "order_id",
    "order_items": "order_item_id",
    "customers": "customer_id",
    "products": "product_id",
    "returns": "return_id",
}


@dataclass(frozen=True)
class Plan:
    """What a measurement looks at.

    Attributes:
        files: By source and entity of a contract: business dates of files, from the file to the warehouse.
        events: By source: days on which sales and cancellations count, from the warehouse to the marts.
    """

    files: Mapping[tuple[str, str], Days]
    events: Mapping[str, Days]


def whole(contracts: Contracts, source: str | None = None) -> Plan:
    """Everything, or everything of one source."""
    sources = [name for name in contracts if source in (None, name)]
    return Plan(
        {(name, entity): None for name in sources for entity in contracts[name]}, dict.fromkeys(sources)
    )


def one_day(contracts: Contracts, day: dt.date, source: str | None = None) -> Plan:
    """One day's files, and what counts on that day in the marts."""
    everything = whole(contracts, source)
    days = frozenset({day})
    return Plan(dict.fromkeys(everything.files, days), dict.fromkeys(everything.events, days))


def touched_files(
    connection: db.Connection, contracts: Contracts, *, since: int, upto: int, orders: str
) -> Plan:
    """The days of files that were touched since the last publication.

    The days of files that were loaded, of those that are refused or were discarded, and of the files that
    hold another version of a key that was touched.

    Args:
        since, upto: Load ids after the one and up to the other.
        orders: Condition on `source_system` and `order_id` of a relation `v`: the touched orders.
    """
    files: dict[tuple[str, str], set[dt.date]] = {}
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select distinct source, entity, business_date
            from raw.load_ledger
            where business_date is not null and (
                (is_current and status in ('refused', 'discarded'))
                -- the earlier versions too: one of a file whose content dates it may be of another day
                or (source, path) in (
                    select source, path from raw.load_ledger where load_id > %s and load_id <= %s
                )
            )
            """,
            (since, upto),
        )
        for source, entity, day in cursor:
            files.setdefault((source, entity), set()).add(day)
        for source, entities in contracts.items():
            for contract in entities.values():
                for feed in WAREHOUSE_KEYS:
                    query = _days_of_versions(contract, feed, since, upto, orders)
                    if query and feed in contract.feeds:
                        cursor.execute(query)
                        days = files.setdefault((source, contract.entity), set())
                        days.update(day for (day,) in cursor)
    return Plan(
        {
            (source, entity): frozenset(days)
            for (source, entity), days in files.items()
            if days and entity in contracts.get(source, {})
        },
        {},
    )


def _days_of_versions(contract: Contract, feed: str, since: int, upto: int, orders: str) -> str | None:
    """SELECT of the business dates of the files that hold a version of something touched."""
    view = (
        f"select distinct v._business_date from staging.stg_{feed} as v "
        f"where v.source_system = '{contract.source}'"
    )
    if feed in ("orders", "order_items"):
        return f"{view} and {orders}"
    waiting = ""
    if feed == "returns":  # those of items that came or went
        waiting = f"""
            union
            {view} and v.order_item_id in (
                select v.order_item_id from staging.stg_order_items as v
                where v.source_system = '{contract.source}' and {orders}
            )
        """
    if not contract.primary_key:
        return None  # gathered from lines: each line is in one file
    key = WAREHOUSE_KEYS[feed]
    return f"""
        {view} and v.{key} in (
            select r.{key}
            from raw.{contract.table} as r
            where r._file_id in (
                select file_id from raw.load_ledger
                where source = '{contract.source}' and entity = '{contract.entity}'
                    and load_id > {since} and load_id <= {upto}
            )
            union
            select keys ->> '{key}'
            from raw.removed_keys
            where source = '{contract.source}' and entity = '{contract.entity}'
                and load_id > {since} and load_id <= {upto}
        )
        {waiting}
    """
