"""Rows that do not load: kept as they were, with every reason; exported, corrected, settled."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecommerce_dw.commands.rejects import command
from ecommerce_dw.loading.decisions import withdraw
from ecommerce_dw.loading.review import export_rejects, list_rejects, suggest_name
from tests.integration.loading.conftest import Shop, day
from tests.integration.loading.shop import GOOD, HEADER, PRODUCTS

SHORT = "product_id,product_name,price"


def test_law_1_records_are_loaded_or_rejected_and_blank_lines_are_none(shop: Shop) -> None:
    shop.land(
        day(1),
        "\nA1,Mug,1\n\n   \n\r\nA2,Cup\nA3,Jug,3,4\nA4,Can,x\nA5,Pot,-1\nA6,Pan,6\nA7,Lid,7\nA8,Tin,8",
        header=SHORT,
    )

    summary = shop.load()

    assert (summary.rows_read, summary.rows_loaded, summary.rows_rejected) == (8, 4, 4)
    assert [(row[0], row[3]) for row in shop.products()] == [("A1", 3), ("A6", 11), ("A7", 12), ("A8", 13)]
    assert shop.reasons() == {
        7: ["has 2 fields where the header has 3"],
        8: ["has 4 fields where the header has 3"],
        9: ['price: invalid input syntax for type numeric: "x"'],
        10: ["price: is less than 0"],
    }


@pytest.mark.parametrize("files", [1, 3])
def test_a_bad_row_is_found_behind_a_first_record_of_several_lines(shop: Shop, files: int) -> None:
    """COPY does not count the lines inside its first record: only then does it know what ends a line."""
    content = '\nA1,"Mug\nwith\near",1\nA2,"Cup\nof tin",x\nA3,Jug,3\nA4,"Pot\n",y\nA5,Pan,5\n'
    for number in range(1, files + 1):
        shop.land(day(number), content, header=SHORT)

    summary = shop.load()

    assert summary.files_failed == 0, summary.outcomes
    assert summary.rows_loaded == 3 * files
    assert shop.query("select distinct line_number, raw_line, reasons from raw.rejected_rows order by 1") == [
        (6, 'A2,"Cup\nof tin",x', ['price: invalid input syntax for type numeric: "x"']),
        (9, 'A4,"Pot\n",y', ['price: invalid input syntax for type numeric: "y"']),
    ]


def test_bytes_that_are_no_utf8_and_nul_are_kept_readably_and_as_they_were(shop: Shop) -> None:
    shop.land(day(1), b"A1,Mug,1\nA2,C\xe9p,x\nA3,J\0g,3\nA4,Caf\xc3\xa9,4\n", header=SHORT)

    shop.load()

    assert [row[:2] for row in shop.products()] == [("A1", "Mug"), ("A4", "Café")]
    kept = shop.query("select line_number, raw_line, raw_bytes, keys from raw.rejected_rows order by 1")
    assert [(line, text, bytes(raw), keys) for line, text, raw, keys in kept] == [
        (3, "A2,C\\xe9p,x", b"A2,C\xe9p,x", {"product_id": "A2"}),
        (4, "A3,J\\x00g,3", b"A3,J\0g,3", {"product_id": "A3"}),
    ]
    assert shop.reasons() == {
        3: [
            "is not UTF-8: byte 0xe9 at position 5, in 'product_name'",
            'price: invalid input syntax for type numeric: "x"',
        ],
        4: ["has a NUL byte, in 'product_name'"],
    }


def test_quoted_newlines_are_part_of_the_record_and_lines_are_physical(shop: Shop) -> None:
    shop.land(
        day(1), 'A1,"two\nlines",1\nA2,"three\r\nmore\nlines",x\nA3,Jug,3\nA4,"a""b",-1\n', header=SHORT
    )

    shop.load()

    assert shop.products() == [("A1", "two\nlines", Decimal(1), 2), ("A3", "Jug", Decimal(3), 7)]
    assert shop.query("select line_number, raw_line from raw.rejected_rows order by 1") == [
        (4, 'A2,"three\r\nmore\nlines",x'),
        (8, 'A4,"a""b",-1'),
    ]


def test_one_stray_quotation_mark_takes_no_other_line_with_it(shop: Shop) -> None:
    rows = [f"A{n},Mug,1\n" for n in range(1, 301)]
    rows[9] = 'A10,5" plate,1\n'
    shop.land(day(1), "".join(rows), header=SHORT)

    summary = shop.load()

    assert (summary.rows_loaded, summary.rows_rejected) == (299, 1)
    assert shop.reasons() == {11: ["a quotation mark is opened and not closed"]}


@pytest.mark.parametrize("name", ["Mug", '"Mug, blue"'])
def test_two_stray_quotation_marks_do_not_take_the_lines_between_with_them(shop: Shop, name: str) -> None:
    rows = [f"A{n},{name},1\n" for n in range(1, 301)]
    rows[9], rows[14] = 'A10,5" plate,1\n', 'A15,7" plate,1\n'
    rows[20] = 'A21,"two\nlines",x\n'
    shop.land(day(1), "".join(rows), header=SHORT)

    summary = shop.load()

    assert (summary.rows_loaded, summary.rows_rejected) == (297, 3)
    not_closed = ["a quotation mark is opened and not closed"]
    assert shop.reasons() == {
        11: not_closed,
        16: not_closed,
        22: ['price: invalid input syntax for type numeric: "x"'],
    }


def test_an_empty_field_is_null_quoted_or_not(shop: Shop) -> None:
    shop.land(day(1), 'A1,"",1,""\nA2,,,\n', header=SHORT + ",quantity")

    shop.load()

    assert shop.products() == [("A1", None, Decimal(1), 2)]
    assert shop.reasons() == {3: ["price: a value is required"]}


def test_numbers_and_times_that_are_not_finite_are_rejected(shop: Shop) -> None:
    rows = "A1,NaN,\nA2,Infinity,\nA3,1,infinity\nA4,1.50,2026-01-01\nA5,1.5000,\nA6,1e2,\n"
    shop.land(day(1), rows, header="product_id,price,updated_at")

    shop.load()

    assert [row[0] for row in shop.products()] == ["A4", "A5", "A6"]
    assert shop.reasons() == {
        2: ["price: is not a finite number"],
        3: ["price: is not a finite number"],
        4: ["updated_at: is not a finite time"],
    }


WORDS = (
    "now",
    "today",
    " ToDay ",
    "tomorrow",
    "yesterday",
    "epoch",
    "allballs",
    "12:00 today",
    "today12:00",
    "2026-01-01 ALLBALLS",
    '"now"',
    't"od"ay',
)


@pytest.mark.parametrize("filler", [0, 9_000])
def test_words_that_read_the_clock_are_no_times(shop: Shop, filler: int) -> None:
    header = "product_id,product_name,price,updated_at"
    rows = [f"F{n},see you today,1,2026-01-01\n" for n in range(filler)]
    rows += [f"A{n},Mug,1,{word}\n" for n, word in enumerate(WORDS)]
    rows += ["B1,today,1,1970-01-01 01:00\n", 'B2,"now, or never",1,\n', "B3,nowhere,x,tomorrow\n"]
    shop.land(day(1), "".join(rows), header=header)
    shop.contracts["shop"]["products"] = replace(PRODUCTS, max_rejected_rows=20)

    shop.load()

    told = {
        filler + 2 + n: [f'updated_at: "{word.replace(chr(34), "").strip()}" is a word, not a time']
        for n, word in enumerate(WORDS)
        if word != "allballs"  # a time of day alone is none to the server either
    }
    reasons = shop.reasons()
    assert told.items() <= reasons.items()
    assert reasons[filler + 2 + WORDS.index("allballs")][0] == 'updated_at: "allballs" is a word, not a time'
    assert reasons[filler + 4 + len(WORDS)] == [
        'updated_at: "tomorrow" is a word, not a time',
        'price: invalid input syntax for type numeric: "x"',
    ]
    assert len(reasons) == len(WORDS) + 1
    texts = shop.query(
        "select product_name, updated_at = 'epoch' from raw.shop__products where product_id ~ '^B'"
    )
    assert sorted(texts) == [("now, or never", None), ("today", True)]  # London was an hour ahead in 1970
    assert [row[2:] for row in shop.ledger()] == [("loaded", filler + 15, filler + 2, 13)]


@pytest.mark.parametrize("filler", [0, 9_000])
def test_numbers_are_written_as_decimals(shop: Shop, filler: int) -> None:
    header = "product_id,product_name,price,quantity"
    rows = [f"F{n},10_15 0x1,1,1\n" for n in range(filler)]
    rows += ["A1,Mug,1,0x10\n", "A2,Mug,1, -0B1\n", "A3,Mug,1,1_000\n", 'A4,Mug,"1_0.5",1\n']
    rows += ["A5,0x10,+1.50, 007 \n", 'A6,"1_000,00",.5,10\n']
    shop.land(day(1), "".join(rows), header=header)
    shop.contracts["shop"]["products"] = replace(PRODUCTS, max_rejected_rows=20)

    shop.load()

    reasons = {line - filler: why[0] for line, why in shop.reasons().items()}
    assert reasons == {
        2: 'quantity: "0x10" is not written as a decimal number',
        3: 'quantity: "-0B1" is not written as a decimal number',
        4: 'quantity: "1_000" is not written as a decimal number',
        5: 'price: "1_0.5" is not written as a decimal number',
    }
    loaded = shop.query("select price, quantity from raw.shop__products where product_id ~ '^A' order by 1")
    assert loaded == [(Decimal("0.5"), 10), (Decimal("1.5"), 7)]


@pytest.mark.parametrize("spelling", ["true", "T", "yes", "on", "1", "f", "No", "OFF", "0"])
def test_booleans_are_written_in_any_of_the_server_s_spellings(shop: Shop, spelling: str) -> None:
    shop.land(day(1), f"A1,1,{spelling}\nA2,1,maybe\n", header="product_id,price,is_active")

    shop.load()

    is_true = spelling.lower() in ("true", "t", "yes", "on", "1")
    assert shop.query("select is_active from raw.shop__products") == [(is_true,)]
    assert shop.reasons() == {3: ['is_active: invalid input syntax for type boolean: "maybe"']}


@pytest.mark.parametrize("filler", [0, 9_000])
def test_of_equal_keys_in_one_file_the_last_line_stays(shop: Shop, filler: int) -> None:
    rows = [f"F{n},x,1\n" for n in range(filler)]
    rows += ["A1,first,1\n", "A2,Cup,2\n", "A1,second,1\n", "A1,bad,-1\n", "A1,last,1\n"]
    shop.land(day(1), "".join(rows), header=SHORT)
    shop.load()
    shop.land(day(2), "".join(rows), header=SHORT)  # now into a table with its unique index
    shop.load()

    for file_id in (1, 2):
        names = "select product_name from raw.shop__products where _file_id = %s and product_id like 'A%%'"
        assert {row[0] for row in shop.query(names, file_id)} == {"Cup", "last"}
    start = filler + 2
    told = f"product_id: the key stands again on line {start + 4}; the last line of a key stays"
    assert shop.reasons() == {start: [told], start + 2: [told], start + 3: ["price: is less than 0"]}
    assert [row[2:] for row in shop.ledger()] == [("loaded", filler + 5, filler + 2, 3)] * 2


def test_over_both_thresholds_a_file_is_refused_and_shows_why(shop: Shop) -> None:
    shop.land(day(1), GOOD)
    # 3 rows and half of the file are allowed
    shop.land(day(2), "A1,Mug,x\nA2,Cup,x\nA3,Jug,x\nA4,Can,1\n", header=SHORT)
    shop.land(day(3), "".join(f"A{n},Mug,{'x' if n % 2 else 1}\n" for n in range(8)), header=SHORT)
    shop.land(day(4), "A1,Mug,x\nA2,Cup\nA3,Jug,-1\nA4,Can,4\nA5,Pot,x\n", header=SHORT)

    summary = shop.load()

    assert {outcome.path: outcome.outcome for outcome in summary.outcomes} == {
        day(1): "loaded",
        day(2): "loaded",
        day(3): "loaded",
        day(4): "refused",
    }
    refused = next(outcome for outcome in summary.outcomes if outcome.outcome == "refused")
    assert "4 of 5 rows fail (80.0%)" in str(refused.message)
    assert shop.query("select count(*) from raw.rejected_rows where path = %s", day(4)) == [(4,)]


def test_far_more_bad_rows_than_allowed_stop_early_and_a_sample_is_kept(shop: Shop) -> None:
    shop.land(day(1), "".join(f"A{n},Mug,x\n" for n in range(30_000)), header=SHORT)

    summary = shop.load()

    assert (summary.files_refused, summary.files_failed) == (1, 0)
    count = shop.query("select count(*) from raw.rejected_rows")[0][0]
    assert 0 < count <= 10_000


def test_the_export_is_byte_true_and_a_corrected_part_settles_the_rows(shop: Shop) -> None:
    header = "\ufeff" + SHORT.replace("product_name", '"product_name"') + "\r"
    shop.land(day(1), b'A1,Mug,1\r\nA2,"C\xe9p, x",x\r\nA3,"a\nb",-3\r\nA4,Can,4\r\n', header=header)
    shop.load()

    exported = export_rejects(shop.settings, day(1))

    assert exported.content == (b'product_id,"product_name",price\r\nA2,"C\xe9p, x",x\r\nA3,"a\nb",-3\r\n')
    name = suggest_name(shop.settings, exported)
    assert name == "products/dt=2026-01-01/products.fix-001.csv"

    shop.land_bytes(name, exported.content.replace(b"C\xe9p", "Cép".encode()).replace(b",x\r", b",2\r"))
    summary = shop.load()
    assert (summary.rows_loaded, summary.rows_rejected) == (1, 1)
    settled = shop.query("select path, line_number, resolved_by from raw.rejected_rows order by 1, 2")
    assert settled == [(day(1), 3, name), (day(1), 4, None), (name, 3, None)]
    assert suggest_name(shop.settings, exported).endswith("products.fix-002.csv")
    # what is no longer incomplete must be recomputed
    assert shop.query("select load_id, keys from raw.removed_keys") == [(2, {"product_id": "A2"})]


def test_settlement_is_the_same_in_any_order_of_arrival_and_ends_with_its_part(shop: Shop) -> None:
    part = day(1).replace(".csv", ".fix-001.csv")
    shop.land(part, "A2,Cup,2\n", header=SHORT)
    shop.load()
    shop.land(day(1), "A1,Mug,1\nA2,Cup,x\n", header=SHORT)
    shop.load()
    assert shop.query("select resolved_by from raw.rejected_rows") == [(part,)]

    withdraw(shop.settings, part, contracts=shop.contracts)
    assert shop.query("select resolved_by from raw.rejected_rows") == [(None,)]

    shop.land(part, "A2,Cup,22\n", header=SHORT)
    shop.load()
    assert shop.query("select resolved_by from raw.rejected_rows") == [(part,)]

    shop.land(part, "A9,Cup,22\n", header=SHORT)
    shop.load()
    assert shop.query("select resolved_by from raw.rejected_rows") == [(None,)]
    touched = shop.query("select load_id, keys ->> 'product_id' from raw.removed_keys order by 1, 2")
    assert touched == [(number, "A2") for number in (2, 3, 3, 4, 5, 5)]


def test_without_a_primary_key_a_fix_part_settles_what_lies_before_it(shop: Shop) -> None:
    header = "InvoiceNo,Quantity"
    shop.land("2026-01-01.csv", "1,1\n2,x\n", header=header)
    shop.land("2026-01-02.csv", "3,x\n4,4\n", header=header)
    shop.land("2026-01-01.second.csv", "5,5\n", header=header)  # a delivery in parts corrects nothing
    shop.load()
    assert {row[0] for row in shop.query("select resolved_by from raw.rejected_rows")} == {None}

    shop.land("2026-01-01.fix-1.csv", "2,2\n6,x\n", header=header)
    shop.load()

    assert shop.query("select path, resolved_by from raw.rejected_rows order by 1") == [
        ("2026-01-01.csv", "2026-01-01.fix-1.csv"),
        ("2026-01-01.fix-1.csv", None),
        ("2026-01-02.csv", None),
    ]


def test_the_command_lists_and_exports(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.land(day(1), "A1,Mug,1\nA2,Cup,x\n", header=SHORT)
    shop.load()
    monkeypatch.setattr("ecommerce_dw.commands.rejects.get_settings", lambda: shop.settings)

    listed = CliRunner().invoke(command, ["list", "--json"])
    rows = json.loads(listed.output)["rows"]
    assert (rows[0]["path"], rows[0]["line_number"], rows[0]["raw_line"]) == (day(1), 3, "A2,Cup,x")
    assert "A2,Cup,x" in CliRunner().invoke(command, ["list"]).output

    out = tmp_path / "fix.csv"
    absolute = str(shop.landing / day(1))
    assert CliRunner().invoke(command, ["export", absolute, "--out", str(out)]).exit_code == 0
    assert out.read_bytes() == (SHORT + "\nA2,Cup,x\n").encode()
    assert CliRunner().invoke(command, ["export", "nowhere.csv"]).exit_code == 1


def test_an_empty_list_is_no_error(shop: Shop) -> None:
    shop.land(day(1), GOOD, header=HEADER)
    shop.load()
    assert list_rejects(shop.settings) == ([], 0)
