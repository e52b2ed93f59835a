"""Versions of a path, and what people decide about them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from ecommerce_dw import db
from ecommerce_dw.loading.decisions import DecisionError, accept, accept_expectation, discard, withdraw
from ecommerce_dw.loading.journal import journal_file
from tests.integration.loading.conftest import Shop, day

SHORT = "product_id,product_name,price"
BAD = "A1,Mug,x\nA2,Cup\nA3,Jug,-1\nA4,Can,4\nA5,Pot,x\n"


def names(shop: Shop) -> list[str]:
    """Names of the loaded products."""
    return [row[1] for row in shop.products()]


def removed(shop: Shop) -> list[tuple[Any, ...]]:
    """Removed keys by load id."""
    return shop.query("select load_id, keys ->> 'product_id' from raw.removed_keys order by 1, 2")


def statuses(shop: Shop) -> list[tuple[Any, ...]]:
    """Version, status, whether current, and whether the models see it."""
    return shop.query(
        "select version, status, is_current, load_id is not null from raw.load_ledger order by 1"
    )


def test_other_bytes_replace_the_rows_and_their_keys_are_kept(shop: Shop) -> None:
    shop.land(day(1), "A1,Mug,1\nA2,Cup,2\n", header=SHORT)
    shop.load()
    shop.land(day(1), "A2,Big cup,2\nA3,Jug,3\n", header=SHORT)

    shop.load()

    assert names(shop) == ["Big cup", "Jug"]
    assert statuses(shop) == [(1, "loaded", False, True), (2, "loaded", True, True)]
    assert removed(shop) == [(2, "A1"), (2, "A2")]


def test_a_return_to_earlier_bytes_is_a_new_version_like_any_other(shop: Shop) -> None:
    for price in ("1", "2", "1"):
        shop.land(day(1), f"A1,Mug,{price}\n", header=SHORT)
        shop.load()

    assert [int(row[2]) for row in shop.products()] == [1]
    assert [row[0] for row in statuses(shop)] == [1, 2, 3]


def test_a_late_file_loads_after_the_others(shop: Shop) -> None:
    shop.land(day(2), "A1,Mug,2\n", header=SHORT)
    shop.load()
    shop.land(day(1), "A1,Mug,1\n", header=SHORT)

    assert shop.load().files_loaded == 1
    assert shop.query("select path, load_id from raw.load_ledger order by load_id") == [
        (day(2), 1),
        (day(1), 2),
    ]


def test_a_refused_version_leaves_the_rows_before_it_and_other_bytes_replace_them(shop: Shop) -> None:
    shop.land(day(1), "A1,Mug,1\nA2,Cup,no\n", header=SHORT)
    shop.load()
    shop.land(day(1), BAD, header=SHORT)
    assert shop.load().files_refused == 1
    assert names(shop) == ["Mug"]
    # what is open: the loaded version's reject and the refused version's
    assert shop.query("select count(*) from raw.rejected_rows where resolved_by is null") == [(5,)]

    shop.land(day(1), "A1,New mug,1\n", header=SHORT)
    shop.load()

    assert names(shop) == ["New mug"]
    assert statuses(shop) == [
        (1, "loaded", False, True),
        (2, "refused", False, False),
        (3, "loaded", True, True),
    ]
    assert removed(shop) == [(2, "A1"), (2, "A2")]
    assert shop.query("select count(*) from raw.rejected_rows where resolved_by is null") == [(0,)]


def test_withdraw_takes_the_rows_out_until_other_bytes_come(shop: Shop) -> None:
    file = shop.land(day(1), "A1,Mug,1\nA2,Cup,no\n", header=SHORT)
    shop.load()

    assert withdraw(shop.settings, str(file), contracts=shop.contracts, reason="sent twice").rows_removed == 1

    assert names(shop) == []
    assert statuses(shop) == [(1, "loaded", False, True), (2, "withdrawn", True, True)]
    assert removed(shop) == [(2, "A1"), (2, "A2")]
    assert shop.load().files_loaded == 0
    file.touch()
    assert [outcome.outcome for outcome in shop.load().outcomes] == ["unchanged"]
    with pytest.raises(DecisionError, match="nothing to withdraw"):
        withdraw(shop.settings, day(1), contracts=shop.contracts)

    shop.land(day(1), "A1,Mug,1.5\n", header=SHORT)
    assert shop.load().files_loaded == 1
    assert names(shop) == ["Mug"]


def test_accept_waives_the_threshold_for_these_bytes_only(shop: Shop) -> None:
    shop.land(day(1), BAD, header=SHORT)
    shop.load()

    outcome = accept(shop.settings, day(1), contracts=shop.contracts)

    assert (outcome.outcome, outcome.rows_loaded, outcome.rows_rejected) == ("loaded", 1, 4)
    assert names(shop) == ["Can"]
    assert shop.query("select count(*) from raw.rejected_rows where resolved_by is null") == [(4,)]
    shop.land(day(1), BAD.replace("Can", "Tin"), header=SHORT)
    assert shop.load().files_refused == 1
    assert names(shop) == ["Can"]


def test_accept_survives_being_killed_before_its_load(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.land(day(1), BAD, header=SHORT)
    shop.load()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ecommerce_dw.loading.decisions.load", killed)
    with pytest.raises(KeyboardInterrupt):
        accept(shop.settings, day(1), contracts=shop.contracts)

    assert shop.load().files_loaded == 1


def test_accept_never_waives_a_header(shop: Shop) -> None:
    shop.land(day(1), "A1\n", header="product_id")
    shop.load()
    with pytest.raises(DecisionError, match=r"cannot be waived.*lacks the required price"):
        accept(shop.settings, day(1), contracts=shop.contracts)
    with pytest.raises(DecisionError, match="no file"):
        accept(shop.settings, "elsewhere.csv", contracts=shop.contracts)


def test_discard_settles_a_refusal_until_other_bytes_come(shop: Shop) -> None:
    shop.land(day(1), BAD, header=SHORT)
    shop.load()

    discard(shop.settings, day(1), reason="test data")

    assert statuses(shop) == [(1, "discarded", True, False)]
    assert shop.load().files_skipped == 1
    # another contract is no reason to look at it again
    products = dataclasses.replace(shop.contracts["shop"]["products"], hash="2")
    shop.contracts = {"shop": {"products": products}}
    assert shop.load().files_skipped == 1
    with pytest.raises(DecisionError, match="not refused"):
        discard(shop.settings, day(1))
    shop.land(day(1), "A1,Mug,1\n", header=SHORT)
    assert shop.load().files_loaded == 1


def test_a_rebuild_from_the_landing_zone_applies_the_journal(
    shop: Shop, make_shop: Callable[[], Shop]
) -> None:
    for number in (1, 2, 3, 4):
        shop.land(day(number), BAD.replace("Can", f"Can {number}"), header=SHORT)
    shop.land(day(5), "B1,Mug,1\n", header=SHORT)
    shop.land(day(6), "C1,Mug,1\n", header=SHORT)
    shop.load()
    accept(shop.settings, day(1), contracts=shop.contracts)
    discard(shop.settings, day(2))
    accept(shop.settings, day(3), contracts=shop.contracts)
    shop.land(day(3), "D1,Jar,1\n", header=SHORT)  # other bytes: the decision has no more to say
    withdraw(shop.settings, day(5), contracts=shop.contracts)
    withdraw(shop.settings, day(6), contracts=shop.contracts)
    for content in ("C1,Cup,1\n", "C1,Mug,1\n"):  # back to the withdrawn bytes: they count again
        shop.land(day(6), content, header=SHORT)
        shop.load()
    assert len(journal_file(shop.settings).read_text().splitlines()) >= 5

    rebuilt = make_shop()
    summary = rebuilt.load()

    state = "select path, status, rows_loaded from raw.load_ledger where is_current order by path"
    assert rebuilt.query(state) == shop.query(state)
    assert names(rebuilt) == names(shop) == ["Can 1", "Mug", "Jar"]
    assert {outcome.outcome for outcome in summary.outcomes} == {"loaded", "refused", "set_aside"}
    assert rebuilt.load().files_skipped == 6


def test_a_damaged_journal_is_named_with_its_line(shop: Shop) -> None:
    file = journal_file(shop.settings)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"decision": "accept"}) + "\n")
    with pytest.raises(ValueError, match="line 1: not a decision"):
        shop.load()


def test_accepting_an_expectation_ends_at_what_the_latest_run_took_in(shop: Shop) -> None:
    shop.land(day(1), "A1,Mug,1\n", header=SHORT)
    shop.load()
    with shop.owner.cursor() as cursor:
        cursor.execute("insert into ops.runs (run_id, load_id_to) values ('r', 1)")
    shop.land(day(2), "A1,Mug,1\n", header=SHORT)
    shop.load()

    assert accept_expectation(shop.settings, "keys_are_unique", reason="known") == 1
    assert accept_expectation(shop.settings, "keys_are_unique", reason="still") == 1
    assert shop.query("select name, reason, load_id_to from ops.accepted_expectations") == [
        ("keys_are_unique", "still", 1)
    ]


def test_a_load_waits_a_bounded_time_for_transform_and_names_the_holder(
    make_settings: Callable[..., Any], owner: Any
) -> None:
    settings = make_settings(lock_wait_seconds=0.3)
    shop = Shop(settings, owner)
    shop.land(day(1), "A1,Mug,1\n", header=SHORT)
    with (
        db.transform_lock(holder="build warehouse", settings=settings),
        pytest.raises(db.LockHeldError, match="build warehouse"),
    ):
        shop.load()
    assert shop.load().files_loaded == 1
