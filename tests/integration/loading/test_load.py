"""Loading: what a landed file becomes, and what the ledger says about it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gzip
import os
import time
from decimal import Decimal

import pytest

from ecommerce_dw.loading import ddl
from tests.integration.loading.conftest import Shop, day
from tests.integration.loading.shop import GOOD, HEADER, PRODUCTS


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


def test_a_file_that_comes_again_beside_new_ones_leaves_its_attempt_too(shop: Shop) -> None:
    shop.land(day(1), GOOD)
    shop.load()
    shop.land(day(1), GOOD)  # the same bytes, another modification time
    shop.land(day(2), GOOD)

    shop.load()

    assert shop.query("select path, outcome from ops.load_attempts order by attempt_id") == [
        (day(1), "loaded"),
        (day(1), "unchanged"),
        (day(2), "loaded"),
    ]


def test_every_reason_of_a_bad_row_is_named(shop: Shop) -> None:
    shop.land(day(1), GOOD + "x,A much too long name of a thing,-1.234,1.5,maybe,USD,yesterday week\n")

    summary = shop.load()

    assert (summary.rows_read, summary.rows_loaded, summary.rows_rejected) == (4, 3, 1)
    assert shop.reasons() == {
        5: [
            'updated_at: "yesterday week" is a word, not a time',
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


def test_a_file_of_another_time_with_the_same_bytes_is_unchanged(shop: Shop) -> None:
    file = shop.land(day(1), GOOD)
    shop.load()
    os.utime(file, (1, 1))

    assert [outcome.outcome for outcome in shop.load().outcomes] == ["unchanged"]
    assert shop.load().outcomes == ()  # the new time is remembered
    assert len(shop.ledger()) == 1


def test_a_file_of_the_same_size_and_time_is_not_opened_but_by_verify(shop: Shop) -> None:
    file = shop.land(day(1), GOOD)
    shop.load()
    status = file.stat()
    file.write_text(HEADER + "\n" + GOOD.replace("Mug", "Jug"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert shop.load().files_skipped == 1
    assert shop.products()[0][1] == "Mug"

    assert shop.load(verify=True).files_loaded == 1
    assert shop.products()[0][1] == "Jug"


def test_files_of_a_later_date_stay_and_the_default_date_is_the_greatest(shop: Shop) -> None:
    shop.land(day(1), GOOD)
    shop.land(day(3), GOOD)

    first = shop.load(business_date=dt.date(2026, 1, 2))
    second = shop.load()

    assert (first.files_loaded, second.files_loaded) == (1, 1)
    assert second.business_date == dt.date(2026, 1, 3)


def test_what_no_pattern_names_is_listed_and_unfinished_files_are_ignored(shop: Shop) -> None:
    shop.land(day(1), GOOD)
    shop.land("products/dt=2026-02-31/products.csv", GOOD)
    shop.land("notes.txt", GOOD)
    for name in (".hidden.csv", "products.csv.tmp", "products.csv.part", "products.csv.gz.tmp"):
        shop.land(f"products/dt=2026-01-02/{name}", GOOD)
    (shop.landing / "_unfinished").mkdir()
    (shop.landing / "_unfinished" / "products.csv").write_text("x")

    summary = shop.load()

    assert summary.files_loaded == 1
    assert summary.unmatched == ("shop: notes.txt", "shop: products/dt=2026-02-31/products.csv")


def test_a_file_that_is_gone_keeps_its_rows_with_a_warning(shop: Shop) -> None:
    file = shop.land(day(1), GOOD)
    shop.load()
    file.unlink()

    assert shop.load().missing == (f"shop: {day(1)}",)
    assert len(shop.products()) == 3


def test_gzip_loads_like_the_plain_file(shop: Shop) -> None:
    content = (HEADER + "\n" + GOOD).encode()
    # two members one after the other are one file
    shop.land_bytes(day(1) + ".gz", gzip.compress(content[:70]) + gzip.compress(content[70:]))

    assert shop.load().rows_loaded == 3


@pytest.mark.parametrize("damage", ["cut off", "damaged", "no gzip"])
def test_an_unreadable_file_is_tried_again_every_run_and_keeps_no_other_from_loading(
    shop: Shop, damage: str
) -> None:
    whole = gzip.compress((HEADER + "\n" + GOOD).encode())
    broken = {"cut off": whole[:-12], "damaged": whole[:20] + b"xxxx" + whole[24:], "no gzip": b"product_id"}
    file = shop.land_bytes(day(1) + ".gz", broken[damage])
    shop.land_bytes(day(2) + ".gz", whole)

    first, second = shop.load(), shop.load()

    assert (first.files_loaded, first.files_failed) == (1, 1)
    assert (second.files_skipped, second.files_failed) == (1, 1)
    assert [row[0] for row in shop.ledger()] == [day(2) + ".gz"]
    file.write_bytes(whole)
    assert shop.load().files_loaded == 1


def test_a_file_without_permission_is_tried_again(shop: Shop) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    file = shop.land(day(1), GOOD)
    file.chmod(0)
    assert shop.load().files_failed == 1
    file.chmod(0o600)
    assert shop.load().files_loaded == 1


def test_a_dangling_link_is_named_and_keeps_no_other_from_loading(shop: Shop) -> None:
    shop.land(day(1), GOOD)
    (shop.landing / "products/dt=2026-01-01/products.extra.csv").symlink_to("/nowhere")

    summary = shop.load()

    assert (summary.files_loaded, summary.files_failed) == (1, 1)


def test_load_ids_are_one_per_file_in_the_order_of_commits(shop: Shop) -> None:
    for number in range(1, 8):
        shop.land(day(number), GOOD)
    shop.load()
    shop.land(day(3), GOOD.replace("Mug", "Jug"))
    shop.load()

    ids = shop.query("select path, version, load_id from raw.load_ledger order by load_id")
    assert [row[2] for row in ids] == list(range(1, 9))
    assert ids[-1][:2] == (day(3), 2)


def test_indexes_are_made_after_the_first_load_and_kept(shop: Shop) -> None:
    ddl.ensure_tables(shop.loader_connection(), [PRODUCTS])
    assert shop.indexes("shop__products") == []
    shop.land(day(1), GOOD)
    shop.load()
    assert shop.indexes("shop__products") == [
        "shop__products__file_id__idx",
        "shop__products__product_id__key",
    ]


def test_a_stricter_rule_holds_for_the_next_file(shop: Shop) -> None:
    shop.land(day(1), "A1,Mug,4.50,10,true,GBP,\n")
    shop.load()
    columns = tuple(
        dataclasses.replace(c, max_length=3) if c.name == "product_name" else c for c in PRODUCTS.columns
    )
    stricter = dataclasses.replace(PRODUCTS, hash="2", version="2.0.0", columns=columns)
    shop.contracts = {"shop": {"products": stricter}}
    shop.land(day(2), GOOD)

    assert shop.load().rows_rejected == 2
    assert shop.reasons()[3] == ["product_name: is longer than 3 characters"]


def test_comments_of_the_contract_reach_the_table(shop: Shop) -> None:
    ddl.ensure_tables(shop.loader_connection(), [PRODUCTS])
    assert shop.query("select col_description('raw.shop__products'::regclass, 3)") == [("The price.",)]
    assert shop.query("select obj_description('raw.shop__products'::regclass)") == [
        ("The products of a shop.",)
    ]


def test_a_large_file_loads_like_a_small_one(shop: Shop) -> None:
    """More than one piece, quotes, bad rows far behind; the only file, so it builds the indexes itself."""
    rows = [f'P{n},"Thing, no {n}",{n % 90}.5,{n % 9},t,GBP,2026-01-01 00:00:00\n' for n in range(30_000)]
    rows[25_000] = 'P25000,"Thing\nof two lines",1,1,t,GBP,\n'
    rows[25_001] = "P25001,Thing,1,one,t,GBP,\n"
    rows[25_002] = "P25002,Thing,-1,1,t,GBP,\n"
    rows[25_003] = "P25003,Thing,1\n"
    shop.land(day(1), "".join(rows))

    started = time.perf_counter()
    summary = shop.load()

    assert time.perf_counter() - started < 30
    assert (summary.rows_read, summary.rows_loaded, summary.rows_rejected) == (30_000, 29_997, 3)
    assert {line: len(reasons) for line, reasons in shop.reasons().items()} == {25004: 1, 25005: 1, 25006: 1}
    lines = dict(shop.query("select product_id, _line_number from raw.shop__products"))
    assert (lines["P0"], lines["P24999"], lines["P25000"], lines["P25004"], lines["P29999"]) == (
        *(2, 25_001, 25_002),
        *(25_007, 30_002),
    )
