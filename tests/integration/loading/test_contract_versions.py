"""A contract's next version: what raw tables follow, what is refused and why, and what is recorded of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from ecommerce_dw import db
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading import ddl
from tests.integration.loading.conftest import Shop, day
from tests.integration.loading.shop import GOOD, HEADER, PRODUCTS, column


def products(version: str, **changes: Any) -> Contract:
    """The contract of the products in another version."""
    return dataclasses.replace(PRODUCTS, version=version, hash=version, **changes)


def with_column(version: str, name: str, **changes: Any) -> Contract:
    """The contract of the products with one column changed."""
    columns = tuple(dataclasses.replace(c, **changes) if c.name == name else c for c in PRODUCTS.columns)
    return products(version, columns=columns)


def use(shop: Shop, *contracts: Contract) -> None:
    """Go on with these contracts."""
    shop.contracts = {"shop": {contract.entity: contract for contract in contracts}}


def versions(shop: Shop) -> list[tuple[Any, ...]]:
    """What is recorded of the products' contract: version, hash, changes."""
    return shop.query(
        "select version, contract_hash, changes from ops.contract_versions where entity = 'products' "
        "order by applied_at"
    )


def structure(shop: Shop) -> list[tuple[Any, ...]]:
    """Columns of the products' table with types, rules and comments."""
    return shop.query(
        """
        select a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid),
            col_description(a.attrelid, a.attnum)
        from pg_attribute as a
        left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = 'raw.shop__products'::regclass and a.attnum > 0 and not a.attisdropped
        order by a.attnum
        """
    )


def test_the_first_version_is_recorded_once(shop: Shop) -> None:
    shop.load()
    shop.load()

    assert versions(shop) == [("1.0.0", "1", ["the table was made"])]
    assert shop.query("select content -> 'columns' -> 'price' from ops.contract_versions "
                      "where entity = 'products'") == [
        ({"header": "price", "type": "numeric", "required": True, "minimum": "0", "scale": 2,
          "description": "The price."},)
    ]  # fmt: skip


ADDITIVE = {
    "a new optional column": (
        products("1.1.0", columns=(*PRODUCTS.columns, column("colour"))),
        ("B1,Bowl,1,1,t,GBP,,red\n", HEADER + ",colour"),
        "column colour is new (text, optional)",
    ),
    "a longer text": (
        with_column("1.1.0", "product_name", max_length=40),
        ("B1,A bowl of more than twenty,1,1,t,GBP,\n", HEADER),
        "column product_name: max length 20 → 40",
    ),
    "a wider range": (
        with_column("1.1.0", "quantity", maximum=None),
        ("B1,Bowl,1,1001,t,GBP,\n", HEADER),
        "column quantity: maximum 1000 → none",
    ),
    "more decimals": (
        with_column("1.1.0", "price", scale=3),
        ("B1,Bowl,1.005,1,t,GBP,\n", HEADER),
        "column price: scale 2 → 3",
    ),
    "one more allowed value": (
        dataclasses.replace(
            with_column("1.1.0", "currency", allowed_values=("GBP", "EUR", "SEK")), currency_column=None
        ),
        ("B1,Bowl,1,1,t,SEK,\n", HEADER),
        "column currency: allowed values EUR, GBP → EUR, GBP, SEK",
    ),
    "required no more": (
        with_column("1.1.0", "price", is_required=False),
        ("B1,Bowl,,1,t,GBP,\n", HEADER),
        "column price: required yes → none",
    ),
    "integer to bigint": (
        with_column("1.1.0", "quantity", type="bigint", maximum=None),
        ("B1,Bowl,1,3000000000,t,GBP,\n", HEADER),
        "column quantity: type integer → bigint",
    ),
    "integer to numeric": (
        with_column("1.1.0", "quantity", type="numeric"),
        ("B1,Bowl,1,0.5,t,GBP,\n", HEADER),
        "column quantity: type integer → numeric",
    ),
    "other words": (
        with_column("1.0.1", "price", description="The price with tax."),
        ("B1,Bowl,1,1,t,GBP,\n", HEADER),
        "column price: other description",
    ),
}


@pytest.mark.parametrize("change", ADDITIVE)
def test_what_a_version_adds_or_loosens_is_applied_and_recorded(shop: Shop, change: str) -> None:
    contract, (line, header), what = ADDITIVE[change]
    shop.land(day(1), GOOD)
    shop.land(day(2), line, header=header)
    shop.load(business_date=dt.date(2026, 1, 1))
    before = shop.products()
    use(shop, contract)

    summary = shop.load()

    # the older file is not read again and its rows stay; the new one is judged by the new version
    assert (summary.files_loaded, summary.files_skipped, summary.rows_rejected) == (1, 1, 0)
    assert shop.products()[:-1] == before
    assert shop.products()[-1][0] == "B1"
    assert versions(shop)[-1][:2] == (contract.version, contract.version)
    assert what in versions(shop)[-1][2]
    # as if the table had been made under this version
    made = {row[0]: row[1:] for row in structure(shop)}
    shop.query("drop table raw.shop__products; select 1")
    ddl.ensure_tables(shop.loader_connection(), [contract])
    assert made == {row[0]: row[1:] for row in structure(shop)}


BREAKING = {
    "a dropped column": (
        products("2.0.0", columns=PRODUCTS.columns[:-1]),
        ["column updated_at (timestamptz) is gone", "Keep updated_at in the contract without `required`"],
    ),
    "a renamed column": (
        products(
            "2.0.0",
            columns=tuple(
                dataclasses.replace(c, name="title") if c.name == "product_name" else c
                for c in PRODUCTS.columns
            ),
        ),
        ["column product_name is called title", "Keep the name product_name", "`physicalName`"],
    ),
    "a narrower type": (
        with_column("2.0.0", "price", type="integer", scale=None),
        ["column price: type numeric → integer", "another name with the new type"],
    ),
    "another type": (
        with_column("2.0.0", "updated_at", type="text"),
        ["column updated_at: type timestamptz → text"],
    ),
    "a new required column": (
        products("2.0.0", columns=(*PRODUCTS.columns, column("colour", is_required=True))),
        ["column colour is new and required", "colour: a value is required (3 rows)"],
    ),
    "another primary key": (
        products("2.0.0", primary_key=("product_id", "updated_at")),
        ["primary key product_id → product_id, updated_at", "entity of its own"],
    ),
    "another time zone": (
        products("2.0.0", time_zone="Asia/Tokyo"),
        ["time zone Europe/London → Asia/Tokyo"],
    ),
    "another currency": (products("2.0.0", currency="EUR"), ["currency GBP → EUR"]),
    "a shorter text": (
        with_column("2.0.0", "product_name", max_length=4),
        [
            "column product_name: max length 20 → 4",
            "product_name: is longer than 4 characters (2 rows)",
            "withdraw",
        ],
    ),
    "a smaller range": (
        with_column("2.0.0", "price", minimum=Decimal(4)),
        ["column price: minimum 0 → 4", "price: is less than 4 (1 rows)"],
    ),
    "an allowed value less": (
        with_column("2.0.0", "currency", allowed_values=("EUR",)),
        ["column currency: allowed values EUR, GBP → EUR", "currency: is none of EUR (3 rows)"],
    ),
    "required from now on": (
        with_column("2.0.0", "updated_at", is_required=True),
        ["column updated_at: required none → yes", "updated_at: a value is required (1 rows)"],
    ),
    "another pattern": (
        with_column("2.0.0", "product_id", pattern="A[12]"),
        ["column product_id: pattern [A-Z][0-9]+ → A[12]", "product_id: does not match A[12] (1 rows)"],
    ),
    "unique from now on": (
        with_column("2.0.0", "is_active", is_unique=True),
        ["column is_active: unique none → yes", "is_active: 1 values stand more than once in a file"],
    ),
}


@pytest.mark.parametrize("change", BREAKING)
def test_what_rows_cannot_follow_is_refused_with_old_new_and_what_to_do(shop: Shop, change: str) -> None:
    contract, told = BREAKING[change]
    shop.land(day(1), GOOD.replace("A2,Plate,12.00,,,", "A2,Plate,12.00,,t,"))
    shop.load()
    before = (shop.products(), structure(shop), versions(shop))
    shop.land(day(2), GOOD)
    use(shop, contract)

    with pytest.raises(ddl.ContractChangeError) as raised:
        shop.load()

    message = str(raised.value)
    assert "Contract shop.products 2.0.0 and raw.shop__products, which is at 1.0.0: " in message
    assert message.endswith("Nothing was changed.")
    for part in told:
        assert part in message
    assert (shop.products(), structure(shop), versions(shop)) == before


@pytest.mark.parametrize(
    "contract",
    [
        with_column("2.0.0", "quantity", maximum=Decimal(10)),
        with_column("2.0.0", "product_name", is_required=True),
        with_column("2.0.0", "price", is_unique=True),
        with_column("2.0.0", "product_name", header="title"),
        products("2.0.0", max_rejected_rows=0),
    ],
)
def test_a_stricter_rule_that_no_row_breaks_holds_from_its_major_version_on(
    shop: Shop, contract: Contract
) -> None:
    shop.land(day(1), GOOD)
    shop.load()
    before = shop.products()
    use(shop, contract)

    shop.load()

    assert shop.products() == before
    assert versions(shop)[-1][0] == "2.0.0"


def test_an_empty_table_takes_another_key(shop: Shop) -> None:
    shop.load()
    use(shop, products("2.0.0", primary_key=("product_name",)))
    shop.land(day(1), "A1,Mug,1,,,GBP,\nA1,Cup,1,,,GBP,\nA2,Cup,2,,,GBP,\n")

    shop.load()

    assert [row[:2] for row in shop.products()] == [("A1", "Mug"), ("A2", "Cup")]


@pytest.mark.parametrize(
    ("contract", "told"),
    [
        (with_column("1.0.0", "quantity", maximum=None), "its version is still 1.0.0. Give it version 1.1.0"),
        (with_column("1.0.7", "quantity", maximum=None), "1.0.7 is too small a step after 1.0.0"),
        (with_column("1.9.0", "quantity", maximum=Decimal(10)), "Give it version 2.0.0 or higher"),
        (with_column("1.0.0", "price", description="Price."), "Give it version 1.0.1 or higher"),
        (products("0.9.0"), "Version 0.9.0 is older than 1.0.0, which is in force."),
    ],
)
def test_a_version_number_that_does_not_fit_the_change_is_refused(
    shop: Shop, contract: Contract, told: str
) -> None:
    shop.load()
    before = (structure(shop), versions(shop))
    use(shop, contract)

    with pytest.raises(ddl.ContractChangeError, match=told.replace("(", r"\(")):
        shop.load()

    assert (structure(shop), versions(shop)) == before


def test_one_contract_that_cannot_be_followed_keeps_all_tables_as_they_are(shop: Shop) -> None:
    lines = shop.contracts["shop"]["lines"]
    shop.land(day(1), GOOD)
    shop.load()
    use(
        shop,
        products("1.1.0", columns=(*PRODUCTS.columns, column("colour"))),
        dataclasses.replace(lines, version="2.0.0", columns=lines.columns[:1]),
    )

    with pytest.raises(ddl.ContractChangeError, match=r"shop\.lines 2\.0\.0 .* column quantity"):
        shop.load()

    assert "colour" not in [row[0] for row in structure(shop)]


def test_a_table_from_before_versions_were_kept_is_taken_over(shop: Shop) -> None:
    shop.land(day(1), GOOD)
    shop.load()
    shop.query("delete from ops.contract_versions returning 1")

    shop.load()
    assert versions(shop) == [("1.0.0", "1", ["the table was there before versions were kept"])]

    shop.query("delete from ops.contract_versions returning 1")
    use(shop, products("1.1.0", columns=(*PRODUCTS.columns, column("colour"))))
    shop.load()
    assert versions(shop)[0][2] == [
        "the table was there before versions were kept",
        "column colour is new (text, optional)",
    ]

    shop.query("delete from ops.contract_versions returning 1")
    use(shop, with_column("1.1.0", "price", minimum=Decimal(4)))
    with pytest.raises(ddl.ContractChangeError, match=r"column colour .text. is gone"):
        shop.load()
    use(
        shop,
        products(
            "1.1.0",
            columns=(*with_column("", "price", minimum=Decimal(4)).columns, column("colour")),
        ),
    )
    with pytest.raises(ddl.ContractChangeError, match=r"price: is less than 4 \(1 rows\)"):
        shop.load()


@pytest.fixture
def views(shop: Shop) -> Callable[[], list[tuple[Any, ...]]]:
    """Views of the transformer over the products, and a way to see all that makes them up."""
    shop.land(day(1), GOOD)
    shop.load()
    connection = db.connect("transformer", settings=shop.settings)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            create view staging.stg_things as
                select *, quantity * 2 as twice, '50 % off' as note from raw.shop__products;
            create view staging.all_things as
                select product_id, twice from staging.stg_things
                union all
                select product_id, quantity from raw.shop__products;
            comment on view staging.stg_things is 'One row per thing, 100 %';
            comment on column staging.stg_things.twice is 'Twice ''it''';
            grant select on staging.all_things to loader;
            """
        )
    connection.close()

    def look() -> list[tuple[Any, ...]]:
        return shop.query(
            """
            select c.relname, pg_get_userbyid(c.relowner), c.relacl::text, obj_description(c.oid),
                (select array_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' '
                    || coalesce(col_description(c.oid, a.attnum), '-') order by a.attnum)
                from pg_attribute as a where a.attrelid = c.oid and a.attnum > 0)
            from pg_class as c where c.relnamespace = 'staging'::regnamespace and c.relkind = 'v' order by 1
            """
        )

    return look


def test_views_over_a_column_that_grows_stay_with_all_that_belongs_to_them(
    shop: Shop, views: Callable[[], list[tuple[Any, ...]]]
) -> None:
    before = views()
    use(shop, with_column("1.1.0", "quantity", type="bigint", maximum=None))
    shop.land(day(2), "B1,Bowl,1,3000000000,t,GBP,\n")

    shop.load()

    grown = [
        (*row[:4], [c.replace("integer", "bigint") if c != "twice" else c for c in row[4]]) for row in before
    ]
    assert views() == grown
    assert shop.query("select twice from staging.all_things where product_id = 'B1' order by 1") == [
        (3_000_000_000,),
        (6_000_000_000,),
    ]
    assert shop.query("select pg_get_userbyid(relowner) from pg_class where relname = 'shop__products'") == [
        ("loader",)
    ]


def test_a_new_column_leaves_the_views_as_they_are(
    shop: Shop, views: Callable[[], list[tuple[Any, ...]]]
) -> None:
    before = views()
    use(shop, products("1.1.0", columns=(*PRODUCTS.columns, column("colour"))))
    shop.land(day(2), "B1,Bowl,1,5,t,GBP,,red\n", header=HEADER + ",colour")

    shop.load()

    assert views() == before
    assert shop.query("select twice from staging.stg_things where product_id = 'B1'") == [(10,)]


def test_a_view_that_no_longer_fits_keeps_everything_as_it_was(
    shop: Shop, views: Callable[[], list[tuple[Any, ...]]]
) -> None:
    shop.query("create view staging.pickled as select quantity & 1 as odd from raw.shop__products; select 1")
    before = (views(), structure(shop), versions(shop))
    use(shop, with_column("1.1.0", "quantity", type="numeric"))

    with pytest.raises(ddl.ContractChangeError, match=r"View staging\.pickled no longer fits: operator"):
        shop.load()

    assert (views(), structure(shop), versions(shop)) == before
