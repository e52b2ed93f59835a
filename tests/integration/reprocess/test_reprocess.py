"""Reading loaded days again: the plan tells and changes nothing, the run does what the plan told."""

from __future__ import annotations

import datetime as dt
import json
import threading
from typing import Any

import pytest
from click.testing import CliRunner

from ecommerce_dw import db
from ecommerce_dw.cli import main
from ecommerce_dw.fingerprint import fingerprint
from ecommerce_dw.loading import load
from ecommerce_dw.loading.decisions import discard, withdraw
from ecommerce_dw.loading.reload import Reload
from ecommerce_dw.one_process import RunIsGoingError
from ecommerce_dw.pipeline import load_step
from ecommerce_dw.reprocess import plan, reprocess
from ecommerce_dw.runs import close_run, open_run
from ecommerce_dw.settings import Settings

DAY = dt.date(2026, 3, 5)
NEXT = dt.date(2026, 3, 6)


def path(entity: str, day: dt.date = DAY) -> str:
    return f"{entity}/dt={day}/{entity}.csv"


def write(settings: Settings, name: str, text: str) -> None:
    """Put other bytes in the place of a landed file, as a producer does."""
    file = settings.landing("ecommerce") / name
    building = file.with_name("_building")
    building.write_text(text)
    building.rename(file)


def read(settings: Settings, name: str) -> str:
    return (settings.landing("ecommerce") / name).read_text()


def rows(owner: db.Connection, statement: str) -> list[tuple[Any, ...]]:
    with owner.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def versions(owner: db.Connection) -> dict[str, tuple[int, str]]:
    found = rows(owner, "select path, version, status from raw.load_ledger where is_current")
    return {name: (version, status) for name, version, status in found}


def content(owner: db.Connection) -> dict[str, Any]:
    """Everything in raw and ops: a digest of each table."""
    tables = rows(
        owner,
        "select format('%I.%I', table_schema, table_name) from information_schema.tables "
        "where table_schema in ('raw', 'ops') and table_type = 'BASE TABLE' order by 1",
    )
    return {
        table: rows(owner, f"select count(*), sum(hashtextextended(t::text, 0)) from {table} as t")
        for (table,) in tables
    }


def test_loading_again_makes_a_new_version_of_the_chosen_files_alone(
    settings: Settings, owner: db.Connection
) -> None:
    load(settings, source="ecommerce")
    before = rows(owner, "select order_id, total_amount from raw.ecommerce__orders order by 1, 2")
    reload = Reload(DAY, NEXT, "ecommerce", ("orders", "customers"))
    summary = load(settings, source="ecommerce", reload=reload)
    assert summary.files_loaded == 4
    chosen = {path(entity, day) for entity in ("orders", "customers") for day in (DAY, NEXT)}
    assert {name for name, (version, _) in versions(owner).items() if version == 2} == chosen
    assert rows(owner, "select order_id, total_amount from raw.ecommerce__orders order by 1, 2") == before
    [(lost,)] = rows(
        owner, "select count(*) from raw.load_ledger where status = 'loaded' "
        "and rows_read <> rows_loaded + rows_rejected",
    )  # fmt: skip
    assert lost == 0
    # What was made of the rows before is made again: their keys count as touched.
    [(orders,)] = rows(
        owner,
        "select count(distinct keys ->> 'order_id') from raw.removed_keys "
        "where entity = 'orders' and load_id > (select max(load_id) from raw.load_ledger where version = 1)",
    )
    [(of_days,)] = rows(
        owner,
        "select count(distinct order_id) from raw.ecommerce__orders as o "
        f"join raw.load_ledger as l on l.file_id = o._file_id where l.business_date in ('{DAY}', '{NEXT}')",
    )
    assert orders == of_days > 0


def test_what_people_decided_is_kept(settings: Settings, owner: db.Connection) -> None:
    load(settings, source="ecommerce")
    good = read(settings, path("orders"))
    write(settings, path("orders"), good.replace("order_id", "order_number", 1))
    load(settings, source="ecommerce")
    discard(settings, path("orders"))
    withdraw(settings, path("payments"))
    load(settings, source="ecommerce", reload=Reload(DAY, DAY))
    found = versions(owner)
    assert found[path("orders")] == (2, "discarded")
    assert found[path("payments")] == (2, "withdrawn")
    assert found[path("customers")] == (2, "loaded")


def test_the_plan_tells_files_by_what_becomes_of_them_and_changes_nothing(
    settings: Settings, owner: db.Connection
) -> None:
    load(settings, source="ecommerce", business_date=NEXT)
    write(settings, path("payments"), read(settings, path("payments")) + "\n")
    write(settings, path("payments", NEXT), read(settings, path("payments", NEXT)) + "\n")
    withdraw(settings, path("returns"))
    (settings.landing("ecommerce") / path("products")).unlink()
    before = content(owner)
    told = plan(settings, Reload(DAY, DAY, "ecommerce"))
    assert content(owner) == before

    actions = {file.entity: file.action for file in told.files}
    assert actions["orders"] == actions["customers"] == "again"
    assert (actions["payments"], actions["returns"], actions["products"]) == ("changed", "set aside", "gone")
    [(in_raw,)] = rows(
        owner, "select rows_loaded from raw.load_ledger "
        f"where path = '{path('orders')}' and is_current",
    )  # fmt: skip
    assert {file.rows for file in told.files if file.entity == "orders"} == {in_raw}
    assert told.other_files == (f"ecommerce: {path('payments', NEXT)}",)
    assert told.business_date == NEXT
    [(orders,)] = rows(
        owner,
        "select count(distinct order_id) from (select order_id, _file_id from raw.ecommerce__orders "
        "union all select order_id, _file_id from raw.ecommerce__order_items "
        "union all select order_id, _file_id from raw.ecommerce__payments) as o "
        f"join raw.load_ledger as l on l.file_id = o._file_id where l.business_date = '{DAY}'",
    )
    assert told.keys["order_id"] == orders
    text = told.markdown()
    assert f"| 1 of ecommerce.orders | {DAY} | {in_raw:,} | loaded already, read again" in text
    assert "nobody has read them" in text
    assert json.loads(json.dumps(told.conf()))["reload"]["first"] == "2026-03-05"


def test_a_choice_that_names_nothing_is_refused_with_what_there_is(settings: Settings) -> None:
    for reload, text in (
        (Reload(NEXT, DAY), "before the first day"),
        (Reload(DAY, DAY, "nobody"), "no source nobody; there are ecommerce, online_retail"),
        (Reload(DAY, DAY, "ecommerce", ("order",)), r"no entity order; there are customers, .*orders"),
    ):
        with pytest.raises(ValueError, match=text):
            plan(settings, reload)


def test_it_does_not_start_beside_a_run_that_is_going(settings: Settings, owner: db.Connection) -> None:
    load(settings, source="ecommerce")
    connection = db.connect("loader", settings=settings)
    open_run(connection, "scheduled__1", business_date=NEXT)
    told = plan(settings, Reload(DAY, DAY))
    before = versions(owner)
    with pytest.raises(RunIsGoingError, match="scheduled__1 is going since"):
        reprocess(settings, told, run_id="cli__1")
    assert versions(owner) == before
    close_run(connection, "scheduled__1", is_success=True)
    connection.close()


def test_a_nightly_run_waits_for_it_before_it_loads(settings: Settings, owner: db.Connection) -> None:
    finished: list[str] = []

    def nightly() -> None:
        load_step(run_id="scheduled__2", business_date=DAY, source="ecommerce", settings=settings)
        finished.append("load")

    with db.run_lock(holder="reprocess (cli__1)", settings=settings):
        thread = threading.Thread(target=nightly)
        thread.start()
        thread.join(1)
        assert rows(owner, "select count(*) from ops.runs") == [(0,)]
        finished.append("reprocess")
        impatient = settings.model_copy(update={"lock_wait_seconds": 0.1})
        with pytest.raises(db.LockHeldError, match=r"run lock .* reprocess \(cli__1\)"):
            load_step(run_id="scheduled__3", business_date=DAY, settings=impatient)
    thread.join()
    assert finished == ["reprocess", "load"]
    assert rows(owner, "select run_id from ops.runs") == [("scheduled__2",)]


@pytest.mark.slow
def test_reprocessing_ends_as_a_run_does_and_mends_what_was_changed_by_hand(
    settings: Settings, owner: db.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecommerce_dw.commands.reprocess.get_settings", lambda: settings)

    def call(*arguments: str) -> dict[str, Any]:
        done = CliRunner().invoke(main, ["reprocess", *arguments, "--json"])
        assert done.exit_code == 0, done.output
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    first = call("--from", "2026-03-01", "--to", "2026-03-10", "--source", "ecommerce", "--apply")
    assert {file["action"] for file in first["plan"]["files"]} == {"new"}
    clean = fingerprint(settings)
    assert sum(table.rows for table in clean) > 0

    # Unchanged days again: other versions, the same warehouse and marts.
    again = call("--from", str(DAY), "--to", str(NEXT), "--source", "ecommerce", "--apply")
    assert again["done"]["load"]["files_loaded"] == len(again["plan"]["files"])
    assert fingerprint(settings) == clean
    told = {(table["layer"], table["table"]): table for table in again["plan"]["tables"]}
    assert 0 < told["warehouse", "fact_orders"]["rows"] <= told["warehouse", "fact_orders"]["of"]
    assert again["plan"]["days"] is not None

    # Rows changed by hand, in raw and in the warehouse.
    [(order,)] = rows(
        owner,
        f"select min(order_id) from warehouse.fact_orders where order_date = '{DAY}'",
    )
    with owner.cursor() as cursor:
        cursor.execute(
            "update raw.ecommerce__orders set shipping_cost = shipping_cost + 1 where order_id = %s", (order,)
        )
        cursor.execute(
            "update warehouse.fact_orders set shipping_cost = shipping_cost + 1 where order_id = %s", (order,)
        )
    assert fingerprint(settings) != clean
    dry = call("--from", str(DAY), "--source", "ecommerce", "--entity", "orders")
    assert dry["done"] is None
    assert fingerprint(settings) != clean
    call(
        "--from", "2026-03-01", "--to", "2026-03-10", "--source", "ecommerce", "--entity", "orders", "--apply"
    )
    assert fingerprint(settings) == clean
