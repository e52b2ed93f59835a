"""Loading: what a landed file becomes, and what the ledger says about it."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from tests.integration.loading.conftest import Shop, day

GOOD = (
    "A1,Mug,4.50,10,true,GBP,2026-07-01 12:00:00\n"
    "A2,Plate,12.00,,,GBP,2026-01-01 12:00:00\n"
    'A3,"Cup, large",3,5,f,GBP,\n'
)


def test_a_good_file_loads_with_its_trail(shop: Shop) -> None:
    shop.land(day(1), GOOD)

    summary = shop.load()

    assert (summary.files_loaded, summary.rows_read, summary.rows_loaded, summary.rows_rejected) == (
        1,
        3,
        3,
        0,
    )
    assert shop.products() == [
        ("A1", "Mug", Decimal("4.50"), 2),
        ("A2", "Plate", Decimal("12.00"), 3),
        ("A3", "Cup, large", Decimal("3"), 4),
    ]
    assert shop.ledger() == [(day(1), 1, "loaded", 3, 3, 0)]
    assert shop.query("select load_id, business_date from raw.load_ledger") == [(1, dt.date(2026, 1, 1))]
    # London is an hour ahead of UTC in July: the session's time zone is the contract's.
    assert shop.query(
        "select updated_at at time zone 'UTC' from raw.shop__products where product_id = 'A1'"
    ) == [(dt.datetime(2026, 7, 1, 11, 0),)]


def test_unchanged_files_are_skipped_and_the_attempt_is_kept(shop: Shop) -> None:
    shop.land(day(1), GOOD)
    shop.load()

    summary = shop.load()

    assert (summary.files_loaded, summary.files_skipped) == (0, 1)
    assert shop.query("select outcome from ops.load_attempts order by attempt_id") == [
        ("loaded",),
        ("skipped",),
    ]


def test_every_reason_of_a_bad_row_is_named(shop: Shop) -> None:
    shop.land(day(1), GOOD + "x,A much too long name of a thing,-1.234,1.5,maybe,USD,yesterday week\n")

    summary = shop.load()

    assert (summary.rows_read, summary.rows_loaded, summary.rows_rejected) == (4, 3, 1)
    assert shop.reasons() == {
        5: [
            'quantity: invalid input syntax for type integer: "1.5"',
            'is_active: invalid input syntax for type boolean: "maybe"',
            'updated_at: invalid input syntax for type timestamp with time zone: "yesterday week"',
            "product_id: does not match [A-Z][0-9]+",
            "product_name: is longer than 20 characters",
            "price: is less than 0",
            "price: has more than 2 decimals",
            "currency: is none of GBP, EUR",
            "currency: is not GBP, the source's currency",
        ]
    }
