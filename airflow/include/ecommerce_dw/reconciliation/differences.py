"""The names a difference between two layers may have, what each means, and where to see its rows."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """A named difference.

    Attributes:
        meaning: Why the next layer has more or less.
        see: A command or query that shows the rows, with `{source}`, `{entity}` and `{day}` to fill in.
    """

    meaning: str
    see: str


_LEDGER = (
    "select * from raw.load_ledger where source = '{source}' and entity = '{entity}' "
    "and business_date = '{day}' order by path, version"
)
_ITEMS = (
    "select * from warehouse.fact_order_items where source_system = '{source}' and order_date = '{day}' and "
)
_CANCELLED = (
    "select * from warehouse.fact_order_items where source_system = '{source}' and cancelled_date = '{day}' "
    "and cancelled_amount <> 0"
)
_ORDERS = "select * from warehouse.fact_orders where source_system = '{source}' and order_date = '{day}' and "
_STAGED = "select * from staging.stg_{entity} where source_system = '{source}' and _business_date = '{day}'"
_REJECTS = "ecommerce-dw rejects list --source {source} --entity {entity} --date {day}"

DIFFERENCES: dict[str, Difference] = {
    # file → raw
    "rejected": Difference("records that break their contract and wait for a correction", _REJECTS),
    "rejected_unreadable": Difference(
        "rejected records whose amount cannot be read from their text: worth nothing here, on either side",
        _REJECTS,
    ),
    "rejected_and_settled": Difference(
        "rejected records that an additional part of their day delivered again", _REJECTS + " --all"
    ),
    "repeated_key": Difference(
        "earlier records of a key that stands again further down in the same file; the last one stays",
        _REJECTS,
    ),
    "refused_file": Difference("files refused as a whole", _LEDGER),
    "discarded_file": Difference("refused files that a person left out", _LEDGER),
    "withdrawn_file": Difference("files whose rows a person took out", _LEDGER),
    "earlier_version_kept": Difference(
        "rows of the version before a refused or discarded one: they stay in effect", _LEDGER
    ),
    # raw → staging
    "merged_lines": Difference(
        "lines of a source without this entity's own file: one row is gathered from several lines", _STAGED
    ),
    "no_staging_model": Difference("the entity has no staging model yet", _LEDGER),
    # staging → warehouse
    "superseded_version": Difference("delivered versions of a key that a later one replaces", _STAGED),
    "unchanged_version": Difference(
        "delivered versions that say the same as the one before them: they make no row", _STAGED
    ),
    "orphan_item_waiting": Difference(
        "items whose order was not delivered yet: they wait for it",
        _STAGED
        + " and order_id not in (select order_id from staging.stg_orders where source_system = '{source}')",
    ),
    "orphan_return_waiting": Difference(
        "returns whose order item was not delivered yet, or waits itself: they wait for it",
        _STAGED + " and order_item_id not in "
        "(select order_item_id from warehouse.fact_order_items where source_system = '{source}')",
    ),
    "inferred_member": Difference(
        "members that orders name and no file delivered yet",
        "select * from warehouse.dim_{entity} where is_inferred",
    ),
    "waiting_for_the_next_run": Difference(
        "what was loaded after this run began to build", "select * from ops.current_run"
    ),
    "cancellation_line": Difference(
        "lines of cancellation documents: no sale, they stand among the cancellations",
        _STAGED + " and line_type = 'cancellation'",
    ),
    "zero_priced": Difference("lines without a price: worth 0", _STAGED + " and line_type = 'zero_priced'"),
    "rounding": Difference("more than four decimals, rounded line by line", _STAGED),
    # staging → warehouse (gross), warehouse → marts (net)
    "fee": Difference("postage and other fees: beside sales, not in them", _ITEMS + "line_type = 'fee'"),
    "adjustment": Difference(
        "bad debt, corrections, samples: beside sales, not in them", _ITEMS + "line_type = 'adjustment'"
    ),
    # warehouse → marts
    "cancelled": Difference("what cancelled orders had sold, on the day of their cancellation", _CANCELLED),
    "return_of_cancelled_order": Difference(
        "refunds for items of cancelled orders: the cancellation took back the whole line",
        "select * from warehouse.fact_returns where source_system = '{source}' and returned_date = '{day}' "
        "and not is_counted",
    ),
    "cancellation_document": Difference(
        "documents that only take back: no orders placed", _ORDERS + "order_type <> 'sale'"
    ),
    "line_total_mismatch": Difference(
        "lines whose delivered total is not quantity * price - discount; the marts take the latter",
        _ITEMS + "line_type = 'sale' and line_total <> gross_amount - discount_amount",
    ),
    "incomplete_order": Difference(
        "orders that lost an item to a rejection: their total says more than their items",
        _ORDERS + "is_incomplete",
    ),
    "order_without_items": Difference("orders whose items were not delivered", _ORDERS + "item_count = 0"),
    "order_total_mismatch": Difference(
        "orders whose delivered total is not their lines + shipping + tax; the marts take the latter",
        _ORDERS + "has_total_mismatch",
    ),
    "guest": Difference(
        "orders without a customer: in the sales, in no customer's totals",
        "select * from warehouse.fact_orders where source_system = '{source}' and is_guest",
    ),
    # marts_build → marts
    "not_published_yet": Difference(
        "built and not published yet", "select * from ops.publications order by published_at desc limit 10"
    ),
}


def see(name: str, source: str, entity: str, day: dt.date | None) -> str:
    """The command or query that shows the rows of a difference; without a day, those of all days."""
    text = DIFFERENCES[name].see
    if day is None:
        for condition in (
            " and business_date = '{day}'",
            " and order_date = '{day}'",
            " and _business_date = '{day}'",
            " and cancelled_date = '{day}'",
            " and returned_date = '{day}'",
            " --date {day}",
        ):
            text = text.replace(condition, "")
    return text.format(source=source, entity=entity, day=day)
