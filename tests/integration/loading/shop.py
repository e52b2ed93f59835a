"""Contracts of a small shop, made by hand: a product list with a key, and sale lines without one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ecommerce_dw.contracts.model import Column, Contract, FileLayout

GOOD = (
    "A1,Mug,4.50,10,true,GBP,2026-07-01 12:00:00\n"
    "A2,Plate,12.00,,,GBP,2026-01-01 12:00:00\n"
    'A3,"Cup, large",3,5,f,GBP,\n'
)
HEADER = "product_id,product_name,price,quantity,is_active,currency,updated_at"


def column(name: str, type_: Any = "text", **rules: Any) -> Column:
    """A column with a few rules; everything else open."""
    defaults: dict[str, Any] = {
        "header": name,
        "is_required": False,
        "is_unique": False,
        "minimum": None,
        "maximum": None,
        "scale": None,
        "max_length": None,
        "pattern": None,
        "allowed_values": (),
        "references": None,
        "pii": "none",
        "description": f"The {name}.",
    }
    return Column(name=name, type=type_, **(defaults | rules))


def contract(entity: str, columns: tuple[Column, ...], **rules: Any) -> Contract:
    """A contract of source `shop`."""
    defaults: dict[str, Any] = {
        "version": "1.0.0",
        "hash": "1",
        "description": f"The {entity} of a shop.",
        "primary_key": (),
        "touch_keys": (),
        "ordering_column": None,
        "layout": FileLayout(f"{entity}/dt={{date}}/{entity}{{part}}.csv", ",", '"', "utf-8"),
        "time_zone": "Europe/London",
        "currency": "GBP",
        "currency_column": None,
        "max_staleness_days": None,
        "max_rejected_rows": 3,
        "max_rejected_share": Decimal("0.5"),
        "refusal_severity": "critical",
        "extra_columns": "ignore",
        "feeds": (),
    }
    return Contract(source="shop", entity=entity, columns=columns, **(defaults | rules))


PRODUCTS = contract(
    "products",
    (
        column("product_id", is_required=True, pattern="[A-Z][0-9]+"),
        column("product_name", max_length=20),
        column("price", "numeric", is_required=True, minimum=Decimal(0), scale=2),
        column("quantity", "integer", minimum=Decimal(0), maximum=Decimal(1000)),
        column("is_active", "boolean"),
        column("currency", allowed_values=("GBP", "EUR")),
        column("updated_at", "timestamptz"),
    ),
    primary_key=("product_id",),
    touch_keys=("product_id",),
    ordering_column="updated_at",
    currency_column="currency",
)
LINES = contract(
    "lines",
    (
        column("invoice_no", header="InvoiceNo", is_required=True),
        column("quantity", "integer", header="Quantity", is_required=True),
    ),
    touch_keys=("invoice_no",),
    layout=FileLayout("{date}{part}.csv", ",", '"', "utf-8"),
)
