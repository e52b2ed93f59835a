"""What a header may look like, and what becomes of a file whose header breaks the rules."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import pytest

from ecommerce_dw.contracts.model import FileLayout
from tests.integration.loading.conftest import Shop, day
from tests.integration.loading.shop import GOOD, HEADER, PRODUCTS


def refusal(shop: Shop) -> str:
    """The message of the one refused file."""
    summary = shop.load()
    assert (summary.files_refused, summary.files_loaded, shop.products()) == (1, 0, [])
    assert shop.query("select status, load_id, rows_loaded from raw.load_ledger") == [("refused", None, 0)]
    return str(summary.outcomes[0].message)


def test_columns_may_stand_in_any_order_and_the_header_may_be_quoted(shop: Shop) -> None:
    shop.land(
        day(1), 'EUR,"4.50",A1,Mug\nGBP,3,A2,Cup\n', header='currency, price ,"product_id",product_name'
    )

    shop.load()

    # the optional columns that are missing are null
    assert shop.query(
        "select product_id, product_name, price, quantity, updated_at from raw.shop__products"
    ) == [("A2", "Cup", Decimal(3), None, None)]
    assert shop.reasons() == {2: ["currency: is not GBP, the source's currency"]}


def test_a_missing_required_column_refuses_the_file_and_is_named(shop: Shop) -> None:
    shop.land(day(1), "A1,Mug\n", header="product_id,product_name")
    assert "lacks the required price" in refusal(shop)


def test_a_name_that_stands_twice_refuses_the_file(shop: Shop) -> None:
    shop.land(day(1), "A1,A1,1\n", header="product_id,product_id,price")
    assert "product_id more than once" in refusal(shop)


def test_an_extra_column_is_left_out_or_refused_by_policy(shop: Shop) -> None:
    content = 'A1,"a, ""b""\nc",Mug,4.50\nA2,x,"Cup, big",3\nA3,y,Jug,2,z\nA4,w,Can,zero\n'
    shop.land(day(1), content, header="product_id,mood,product_name,price")

    shop.load()

    assert [row[:3] for row in shop.products()] == [
        ("A1", "Mug", Decimal("4.50")),
        ("A2", "Cup, big", Decimal("3")),
    ]
    assert shop.reasons() == {
        5: ["has 5 fields where the header has 4"],
        6: ['price: invalid input syntax for type numeric: "zero"'],
    }
    assert shop.query("select raw_line from raw.rejected_rows where line_number = 6") == [("A4,w,Can,zero",)]


def test_an_extra_column_refuses_the_file_where_the_contract_says_so(shop: Shop) -> None:
    shop.contracts = {"shop": {"products": dataclasses.replace(PRODUCTS, extra_columns="refuse")}}
    shop.land(day(1), "A1,glad,1\n", header="product_id,mood,price")
    assert "'mood', which the contract does not know" in refusal(shop)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"\n \r\n\n", "empty"),
        ("product_id,price\nA1,1\n".encode("utf-16"), "UTF-16"),
        (b"product_id,pr\xe9ce,price\nA1,1\n", "0xe9"),
        (b"\x7fELF\x02\x01\x01\0\0\0\n\0\0", "no text"),
        (b"\x1f\x8b\x08\0abc", "gzip"),
        (b"x" * 2_000_000, "no text"),
        (b"A1;Mug;4.50\n", "lacks the required product_id, price"),
    ],
)
def test_what_is_no_csv_of_this_contract_is_refused(shop: Shop, content: bytes, said: str) -> None:
    shop.land_bytes(day(1), content)
    assert said in refusal(shop)
    assert shop.load().files_skipped == 1  # refused under this contract once


def test_a_header_without_rows_is_a_loaded_file_of_no_rows(shop: Shop) -> None:
    shop.land_bytes(day(1), HEADER.encode())
    shop.land(day(2), "")

    assert shop.load().files_loaded == 2
    assert [row[2:] for row in shop.ledger()] == [("loaded", 0, 0, 0)] * 2


def test_byte_order_mark_carriage_returns_and_leading_blank_lines_load_like_the_plain_file(
    shop: Shop,
) -> None:
    plain = HEADER + "\n" + GOOD
    shop.land_bytes(day(1), b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode())
    shop.land_bytes(day(2), b"\n\n" + plain.rstrip("\n").encode())

    summary = shop.load()

    assert (summary.files_loaded, summary.rows_loaded) == (2, 6)
    assert sorted(row[3] for row in shop.products()) == [2, 3, 4, 4, 5, 6]
    assert shop.query("select distinct product_name from raw.shop__products order by 1") == [
        ("Cup, large",),
        ("Mug",),
        ("Plate",),
    ]


def test_another_delimiter_and_quote_of_the_contract_are_used(shop: Shop) -> None:
    layout = FileLayout("products/{date}.csv", ";", "'", "utf-8")
    shop.contracts = {"shop": {"products": dataclasses.replace(PRODUCTS, layout=layout)}}
    shop.land("products/2026-01-01.csv", "A1;'a;b';1\nA2;\"x\";no\n", header="product_id;product_name;price")

    shop.load()

    assert shop.products() == [("A1", "a;b", Decimal(1), 2)]
    assert shop.reasons() == {3: ['price: invalid input syntax for type numeric: "no"']}


def test_a_refusal_is_tried_again_under_another_contract(shop: Shop) -> None:
    shop.land(day(1), "A1,Mug\n", header="product_id,product_name")
    shop.load()
    columns = tuple(
        dataclasses.replace(c, is_required=False) if c.name == "price" else c for c in PRODUCTS.columns
    )
    looser = dataclasses.replace(PRODUCTS, hash="2", version="1.1.0", columns=columns)
    shop.contracts = {"shop": {"products": looser}}

    assert shop.load().files_loaded == 1
    assert [row[1:] for row in shop.ledger()] == [(1, "refused", 0, 0, 0), (2, "loaded", 1, 1, 0)]
