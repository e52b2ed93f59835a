"""Raw tables filled by hand, for tests of what comes after the loader."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2 import sql

from ecommerce_dw import db
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.settings import Settings

Row = Mapping[str, Any]


class RawRows:
    """Writes files' rows and their ledger rows as the loader would.

    Args:
        connection: Of the warehouse's owner, in autocommit.
        settings: Whose contracts shape the tables.
    """

    def __init__(self, connection: db.Connection, settings: Settings) -> None:
        self.connection = connection
        self.contracts = read_contracts(settings.contracts_dir)

    def create_tables(self, *sources: str) -> None:
        """Make the raw tables of these sources."""
        for source in sources:
            for contract in self.contracts[source].values():
                self._create(contract)

    def _create(self, contract: Contract) -> None:
        columns = ", ".join(f"{column.name} {column.type}" for column in contract.columns)
        with self.connection.cursor() as cursor:
            # As the loader, whose tables others may read by default.
            cursor.execute("set role loader")
            cursor.execute(
                f"create table if not exists raw.{contract.table} "
                f"({columns}, _file_id bigint not null, _line_number bigint not null)"
            )
            cursor.execute(f"create index on raw.{contract.table} (_file_id)")
            for column in contract.touch_keys:
                cursor.execute(f"create index on raw.{contract.table} ({column})")
            cursor.execute("reset role")

    def load(
        self,
        source: str,
        entity: str,
        date: str | dt.date,
        rows: Sequence[Row],
        *,
        part: str = "",
        rejected: Sequence[tuple[int, Row]] = (),
    ) -> int:
        """One more load: a file, new or in another version. Returns its file id."""
        contract = self.contracts[source][entity]
        path = f"{entity}/dt={date}/{entity}{part}.csv"
        read = len(rows) + len(rejected)
        file_id = self._version(source, entity, date, path, "loaded", read, len(rows), len(rejected))
        names = [column.name for column in contract.columns]
        with self.connection.cursor() as cursor:
            for number, row in enumerate(rows, start=2):
                unknown = set(row) - set(names)
                assert not unknown, unknown
                cursor.execute(
                    sql.SQL("insert into raw.{} ({}, _file_id, _line_number) values ({}, %s, %s)").format(
                        sql.Identifier(contract.table),
                        sql.SQL(", ").join(map(sql.Identifier, row)),
                        sql.SQL(", ").join(sql.Placeholder() * len(row)),
                    ),
                    (*row.values(), file_id, number),
                )
            for number, keys in rejected:
                cursor.execute(
                    """
                    insert into raw.rejected_rows
                        (file_id, source, entity, business_date, path, line_number, raw_line, raw_bytes, keys,
                        reasons)
                    values (%s, %s, %s, %s, %s, %s, 'x', 'x', %s, '{quantity: not a number}')
                    """,
                    (file_id, source, entity, date, path, number, json.dumps(keys)),
                )
        return file_id

    def refuse(self, source: str, entity: str, date: str | dt.date, *, read: int = 100) -> int:
        """A file that was refused: a ledger row without a load id, and no rows."""
        path = f"{entity}/dt={date}/{entity}.csv"
        return self._version(source, entity, date, path, "refused", read, 0, read)

    def _version(
        self,
        source: str,
        entity: str,
        date: str | dt.date,
        path: str,
        status: str,
        rows_read: int,
        rows_loaded: int,
        rows_rejected: int,
    ) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(
                "update raw.load_ledger set is_current = false where source = %s and path = %s "
                "returning file_id",
                (source, path),
            )
            earlier = [file_id for (file_id,) in cursor]
            if status == "loaded" and earlier:
                cursor.execute(
                    f"delete from raw.{self.contracts[source][entity].table} where _file_id = any(%s)",
                    (earlier,),
                )
            cursor.execute(
                """
                insert into raw.load_ledger (
                    source, entity, business_date, path, version, contract_hash, sha256, bytes, rows_read,
                    rows_loaded, rows_rejected, status, load_id, finished_at, message
                )
                values (
                    %(source)s, %(entity)s, %(date)s, %(path)s, %(version)s, 'h', 's', 1, %(read)s,
                    %(loaded)s, %(rejected)s, %(status)s,
                    case when %(status)s = 'loaded' then nextval('raw.load_id_seq') end, clock_timestamp(),
                    case when %(status)s = 'refused' then 'too many rows failed' end
                )
                returning file_id
                """,
                {
                    "source": source,
                    "entity": entity,
                    "date": date,
                    "path": path,
                    "version": len(earlier) + 1,
                    "read": rows_read,
                    "loaded": rows_loaded,
                    "rejected": rows_rejected,
                    "status": status,
                },
            )
            row = cursor.fetchone()
            assert row is not None
            return int(row[0])

    def publish(self, *tables: str) -> None:
        """Say that everything loaded so far is published."""
        with self.connection.cursor() as cursor:
            for table in tables or ("customer_summary", "product_performance", "sales_summary"):
                cursor.execute(
                    """
                    insert into ops.model_marks (model, load_id)
                    select 'publication:' || %s, coalesce(max(load_id), 0) from raw.load_ledger
                    on conflict (model) do update set load_id = excluded.load_id
                    """,
                    (table,),
                )
            cursor.execute("truncate ops.touched")


def order(order_id: str, at: str, *, goods: float = 20, **values: Any) -> dict[str, Any]:
    """A delivered order row; `goods` is the sum of its lines."""
    return {
        "order_id": order_id,
        "customer_id": "C1",
        "order_date": at[:10],
        "order_status": "completed",
        "payment_method": "card",
        "shipping_method": "standard",
        "shipping_cost": 5,
        "tax_amount": 2,
        "total_amount": goods + 7,
        "currency": "USD",
        "created_at": at,
        "updated_at": at,
    } | values


def item(item_id: str, order_id: str, at: str, **values: Any) -> dict[str, Any]:
    """A delivered order item row of 2 x 11 - 2 = 20."""
    return {
        "order_item_id": item_id,
        "order_id": order_id,
        "product_id": "P1",
        "quantity": 2,
        "unit_price": 11,
        "discount_amount": 2,
        "line_total": 20,
        "created_at": at,
    } | values


def customer(customer_id: str, at: str, **values: Any) -> dict[str, Any]:
    """A delivered customer version."""
    return {
        "customer_id": customer_id,
        "first_name": "Ada",
        "last_name": "Moore",
        "email": f"{customer_id.lower()}@example.com",
        "country": "US",
        "registration_date": "2026-01-01",
        "customer_segment": "regular",
        "marketing_opt_in": True,
        "updated_at": at,
    } | values


def product(product_id: str, at: str, **values: Any) -> dict[str, Any]:
    """A delivered product version."""
    return {
        "product_id": product_id,
        "product_name": f"Thing {product_id}",
        "category": "Home",
        "subcategory": "Kitchen",
        "brand": "Acme",
        "price": 11,
        "cost": 6,
        "created_date": "2026-01-01",
        "is_active": True,
        "updated_at": at,
    } | values


def payment(payment_id: str, order_id: str, at: str, **values: Any) -> dict[str, Any]:
    """A captured payment of an order of one item: 27, shipping and tax included."""
    return {
        "payment_id": payment_id,
        "order_id": order_id,
        "paid_at": at,
        "method": "credit_card",
        "amount": 27,
        "status": "captured",
    } | values


def returned(return_id: str, item_id: str, at: str, **values: Any) -> dict[str, Any]:
    """One of an item's two units sent back, for half of its 20."""
    return {
        "return_id": return_id,
        "order_item_id": item_id,
        "returned_at": at,
        "quantity": 1,
        "reason": "changed_mind",
        "refund_amount": 10,
    } | values


def stock(product_id: str, date: str, on_hand: int, **values: Any) -> dict[str, Any]:
    """A product's stock at the end of a day on which nothing came in or was sold."""
    return {
        "product_id": product_id,
        "snapshot_date": date,
        "on_hand": on_hand,
        "received": 0,
        "sold": 0,
    } | values


def web_event(event_id: str, at: str, **values: Any) -> dict[str, Any]:
    """A customer looks at a product."""
    return {
        "event_id": event_id,
        "customer_id": "C1",
        "session_id": "S1",
        "event_type": "product_view",
        "product_id": "P1",
        "event_timestamp": at,
        "user_agent": "Mozilla/5.0",
        "ip_address": "192.0.2.1",
        "page_url": "https://shop.example/products/P1",
        "device_type": "desktop",
        "country": "US",
    } | values


def spend(date: str, **values: Any) -> dict[str, Any]:
    """What a campaign cost on a day."""
    return {
        "spend_date": date,
        "channel": "email",
        "campaign": "spring",
        "impressions": 1000,
        "clicks": 50,
        "spend": 12.5,
    } | values
