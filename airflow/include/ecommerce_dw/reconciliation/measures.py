"""What is added up of an entity besides its rows, and how each layer spells it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ecommerce_dw.contracts.model import Contract

ROWS = "rows"

#: A sum of products of columns: sign and columns of each.
Terms = tuple[tuple[int, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Measure:
    """An amount of a delivered row.

    Attributes:
        name: What it is called in `ops.reconciliation`.
        conformed: SQL over the columns of the conformed staging view `stg_<entity>`.
        spellings: How a raw table may spell it; the first whose columns the contract has counts.
    """

    name: str
    conformed: str
    spellings: tuple[Terms, ...]


_GROSS: Terms = ((1, ("quantity", "unit_price")),)
_DISCOUNT: Terms = ((-1, ("discount_amount",)),)

#: Amounts by conformed entity. One that is not here is reconciled by its rows alone.
MEASURES: Mapping[str, tuple[Measure, ...]] = {
    "orders": (
        Measure("shipping", "shipping_cost", (((1, ("shipping_cost",)),),)),
        Measure("tax", "tax_amount", (((1, ("tax_amount",)),),)),
        Measure("total", "total_amount", (((1, ("total_amount",)),),)),
    ),
    "order_items": (
        Measure("gross", "quantity * unit_price", (_GROSS,)),
        Measure("discounts", "discount_amount", (((1, ("discount_amount",)),),)),
        Measure("total", "line_total", (((1, ("line_total",)),), _GROSS + _DISCOUNT, _GROSS)),
    ),
    "payments": (Measure("amount", "amount", (((1, ("amount",)),),)),),
    "returns": (Measure("refunds", "refund_amount", (((1, ("refund_amount",)),),)),),
    "marketing_spend": (Measure("spend", "spend_amount", (((1, ("spend",)),), ((1, ("spend_amount",)),))),),
}

#: What is a number in a file. (Python's Decimal takes more.)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_MOST_DIGITS = 30


def grain(contract: Contract) -> str | None:
    """The conformed entity of which a row of this contract is exactly one, or None.

    A contract that feeds several entities delivers the lines of orders; the other entities are gathered
    from them.
    """
    if "order_items" in contract.feeds:
        return "order_items"
    return contract.feeds[0] if len(contract.feeds) == 1 else None


def measures_of(contract: Contract) -> tuple[Measure, ...]:
    """The amounts of a row of this contract; not those of which its source knows nothing."""
    return tuple(m for m in MEASURES.get(grain(contract) or "", ()) if terms_of(contract, m))


def terms_of(contract: Contract, measure: Measure) -> Terms:
    """How this contract's columns spell a measure; empty where they do not."""
    names = {column.name for column in contract.columns}
    for terms in measure.spellings:
        if names.issuperset(column for _, columns in terms for column in columns):
            return terms
    return ()


def raw_sql(contract: Contract, measure: Measure) -> str:
    """A measure of a row of the contract's raw table, as SQL."""
    parts = [
        f"{'-' if sign < 0 else '+'} coalesce({' * '.join(columns)}, 0)"
        for sign, columns in terms_of(contract, measure)
    ]
    return " ".join(["0::numeric", *parts])


def amount(contract: Contract, terms: Terms, fields: Mapping[str, str]) -> Decimal | None:
    """The amount of a record as its text has it; None where a number that it needs cannot be read.

    Args:
        fields: Text by column. An empty or missing field of a column that need not be filled is worth 0.
    """
    total = Decimal(0)
    for sign, columns in terms:
        product = Decimal(sign)
        for column in columns:
            text = fields.get(column, "").strip()
            if not text and not contract.column(column).is_required:
                product = Decimal(0)
                continue
            number = Decimal(text) if _NUMBER.fullmatch(text) else None
            if number is None or abs(number.adjusted()) > _MOST_DIGITS:
                return None
            product *= number
        total += product
    return total


def as_fields(names: Sequence[str | None], values: Sequence[bytes]) -> dict[str, str]:
    """A record's text by column; empty where it has another number of fields than the header."""
    if len(names) != len(values):
        return {}
    return {
        name: value.decode("utf-8", "replace")
        for name, value in zip(names, values, strict=True)
        if name is not None
    }
