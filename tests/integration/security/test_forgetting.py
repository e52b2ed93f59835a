"""Who is forgotten stays forgotten: in every table and file, after a replay, a restore, a late file."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import gzip
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from rich.console import Console

from ecommerce_dw import db, pipeline
from ecommerce_dw.fingerprint import fingerprint
from ecommerce_dw.loading import erasure, load
from ecommerce_dw.loading.decisions import accept, discard, withdraw
from ecommerce_dw.loading.discover import LandedFile
from ecommerce_dw.loading.erasure import UnknownCustomerError, forget_customer
from ecommerce_dw.loading.journal import append, last_decisions
from ecommerce_dw.loading.landing import LandingError, LocalLanding
from ecommerce_dw.loading.tombstones import (
    TombstoneError,
    merge_tombstones,
    read_tombstones,
    tombstones_file,
)
from ecommerce_dw.platform.backup import back_up
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.platform.restore import restore
from ecommerce_dw.runs import close_run
from ecommerce_dw.settings import Settings
from shop_simulator import generate
from tests.conftest import settings_for
from tests.support.loaded import run_pipeline

CUSTOMERS = "customers/dt=2026-03-01/customers.csv"
EVENTS = "web_events/dt=2026-03-01/web_events.csv.gz"
HEADER = (
    "customer_id,first_name,last_name,email,phone,address,city,state,zip_code,country,registration_date,"
    "customer_segment,birth_date,gender,acquisition_channel,marketing_opt_in,updated_at\r\n"
)
#: A record over two lines with marks in it; somebody else's; a value that does not load; a field too many.
RECORDS = (
    'C1,"Anna, Maria",Öz,anna@example.com,123,"Main ""St"" 1\nfloor 2",Oslo,,0123,NO,2025-01-01,,1990-01-01,'
    "F,,true,2026-03-01 10:00:00",
    'C2,Bob,"Li",bob@example.com,,,,,,NO,2025-01-01,,1990-01-01,M,,true,2026-03-01 10:00:00',
    "C1,Anna,Öz,anna@example.com,123,x,Oslo,,0123,NO,2025-01-01,,1990-13-01,F,,true,2026-03-01 11:00:00",
    "C1,Anna,of,Öz,anna@example.com,123,x,Oslo,,,NO,2025-01-01,,1990-01-01,F,,true,2026-03-01 12:00:00",
)
ERASED = (
    "C1,,,,,,,,,,2025-01-01,,,,,true,2026-03-01 10:00:00",
    RECORDS[1],
    "C1,,,,,,,,,,2025-01-01,,**********,,,true,2026-03-01 11:00:00",
    "C1,****,**,***,****************,***,*,****,,,**,**********,,**********,*,,****,*******************",
)
VISITS = (
    "event_id,customer_id,session_id,event_type,product_id,event_timestamp,user_agent,ip_address,referrer,"
    "page_url,device_type,country,city\n"
    "E1,,S1,page_view,,2026-03-01 10:00:00,{agent},{ip},,/,desktop,NO,{city}\n"
    "E2,C1,S1,page_view,,2026-03-01 10:01:00,{agent},{ip},,/,desktop,NO,{city}\n"
    "E3,,S2,page_view,,2026-03-01 10:01:00,Mozilla,10.0.0.9,,/,desktop,NO,Bergen\n"
)


class Shop:
    """A landing zone with a person in it, and the warehouse it is loaded into."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.landing = settings.landing("ecommerce")
        self.deliver()
        load(settings)

    def deliver(self) -> None:
        for path, content in (
            (CUSTOMERS, (HEADER + "\r\n".join(RECORDS)).encode()),
            (EVENTS, gzip.compress(VISITS.format(agent="Mozilla", ip="10.0.0.1", city="Oslo").encode())),
        ):
            (self.landing / path).parent.mkdir(parents=True, exist_ok=True)
            (self.landing / path).write_bytes(content)

    def land(self, path: str, content: str) -> None:
        (self.landing / path).parent.mkdir(parents=True, exist_ok=True)
        (self.landing / path).write_bytes(gzip.compress(content.encode()))

    def files(self) -> tuple[str, str]:
        return (
            (self.landing / CUSTOMERS).read_bytes().decode(),
            gzip.decompress((self.landing / EVENTS).read_bytes()).decode(),
        )

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with db.transaction(settings=self.settings) as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def is_forgotten(self) -> bool:
        return found_in(self.settings, ["anna@example.com", "10.0.0.1", "floor 2", "Öz"]) == []


def found_in(settings: Settings, values: list[str]) -> list[str]:
    """The tables and files that have one of the values, in plain or as the bytes of a column."""
    wanted = [f"%{text}%" for value in values for text in (value, value.encode().hex())]
    found = []
    with db.transaction(settings=settings) as cursor:
        cursor.execute(
            "select oid::regclass::text from pg_class where relkind in ('r', 'm') "
            "and relnamespace::regnamespace::text !~ '^(pg_|information_schema)'"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"select exists (select from {table} as t where t::text like any(%s))", (wanted,))
            if cursor.fetchone() == (True,):
                found.append(table)
    for file in sorted(settings.home.rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            content = gzip.decompress(content) if file.suffix == ".gz" else content
            if any(value.encode() in content for value in values):
                found.append(str(file))
    return found


@pytest.fixture
def shop(settings: Settings) -> Shop:
    return Shop(settings)


def test_rows_rejects_and_files_lose_the_person_and_nothing_else(shop: Shop) -> None:
    before = shop.query("select path, sha256, rows_read, rows_loaded from raw.load_ledger order by path")
    (shop.landing / CUSTOMERS).chmod(0o640)
    done = forget_customer(shop.settings, "C1")
    assert (done.source, done.rows, done.rejected_rows) == ("ecommerce", 3, 2)
    assert set(done.files) == {CUSTOMERS, EVENTS}
    assert shop.is_forgotten()
    assert shop.files() == (HEADER + "\r\n".join(ERASED), VISITS.format(agent="", ip="", city=""))
    assert (shop.landing / CUSTOMERS).stat().st_mode & 0o777 == 0o640
    after = shop.query("select path, sha256, rows_read, rows_loaded from raw.load_ledger order by path")
    assert after == before
    assert shop.query("select count(*) from raw.load_ledger where erased_at is null") == [(0,)]
    assert shop.query("select source, cause, rows_blanked, rejected_rows_blanked from ops.erasures") == [
        ("ecommerce", "request", 3, 2)
    ]
    assert shop.query("select customer_id, email from raw.ecommerce__customers order by 1") == [
        ("C1", None),
        ("C2", "bob@example.com"),
    ]
    keys = shop.query("select entity, keys ->> 'customer_id', keys ->> 'event_id' from raw.removed_keys")
    assert sorted(keys, key=str) == [
        ("customers", "C1", None), ("web_events", None, "E1"), ("web_events", None, "E2"),
    ]  # fmt: skip


def test_the_rewritten_files_are_not_taken_for_changed_ones(shop: Shop) -> None:
    forget_customer(shop.settings, "C1")
    again = load(shop.settings)
    assert (again.outcomes, again.files_skipped) == ((), 2)
    assert {each.outcome for each in load(shop.settings, verify=True).outcomes} == {"unchanged"}
    # Once more does nothing more.
    assert forget_customer(shop.settings, "C1").files == ()


def test_a_file_that_is_delivered_again_is_erased_as_it_loads(shop: Shop) -> None:
    forget_customer(shop.settings, "C1")
    erased = shop.files()
    shop.deliver()
    assert {each.outcome for each in load(shop.settings).outcomes} == {"loaded"}
    assert shop.is_forgotten() and shop.files() == erased
    assert load(shop.settings).files_skipped == 2
    assert shop.query("select count(*) from ops.erasures where cause = 'load'") == [(2,)]


def test_a_file_whose_rewriting_was_interrupted_is_rewritten_by_the_next_load(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_customer(shop.settings, "C1")
    shop.deliver()
    with monkeypatch.context() as context:
        context.setattr("ecommerce_dw.loading.loader.erasure.rewrite_files", _killed)
        with pytest.raises(KeyboardInterrupt):
            load(shop.settings)
    assert not shop.is_forgotten()
    load(shop.settings)
    assert shop.is_forgotten()


def test_later_events_of_a_forgotten_visit_are_nobodys_too(shop: Shop, make_settings: Any) -> None:
    """They say whose visit it is only in the file that is erased already."""
    forget_customer(shop.settings, "C1")
    later = EVENTS.replace("03-01", "03-02")
    (shop.landing / later).parent.mkdir(parents=True)
    anonymous = VISITS.format(agent="Mozilla", ip="10.0.0.1", city="Oslo").replace(",C1,", ",,")
    content = anonymous.replace("E1", "E4").replace("E2", "E5").replace("E3", "E6")
    (shop.landing / later).write_bytes(gzip.compress(content.encode()))
    load(shop.settings)
    assert shop.is_forgotten()
    addresses = (
        "select event_id, ip_address::text from raw.ecommerce__web_events where event_id >= 'E4' order by 1"
    )
    assert shop.query(addresses) == [("E4", None), ("E5", None), ("E6", "10.0.0.9")]
    assert gzip.decompress((shop.landing / later).read_bytes()).count(b"10.0.0.9") == 1
    replayed = make_settings(ecommerce_dw_home=shop.settings.home)
    (shop.landing / later).write_bytes(gzip.compress(content.encode()))
    load(replayed)
    assert found_in(replayed, ["10.0.0.1"]) == []


def test_somebody_else_in_a_forgotten_visit_stays(shop: Shop) -> None:
    path = EVENTS.replace("03-01", "03-03")
    head = VISITS.partition("\n")[0]
    event = "{},{},S5,page_view,,2026-03-03 10:00:00,Mozilla,10.0.5.{},,/,desktop,NO,Oslo"
    rows = [event.format("E10", "C1", 1), event.format("E11", "C2", 2), event.format("E12", "", 3)]
    shop.land(path, "\n".join([head, *rows]))
    load(shop.settings)
    forget_customer(shop.settings, "C1")
    shop.land(path.replace("03-03", "03-04"), "\n".join([head, event.format("E13", "C2", 4)]))
    load(shop.settings)
    known = (
        "select event_id, ip_address::text from raw.ecommerce__web_events where session_id = 'S5' order by 1"
    )
    assert shop.query(known) == [("E10", None), ("E11", "10.0.5.2"), ("E12", None), ("E13", "10.0.5.4")]
    assert found_in(shop.settings, ["10.0.5.1", "10.0.5.3"]) == []


@pytest.mark.parametrize("is_loaded", [True, False])
def test_a_visit_is_forgotten_whichever_file_says_whose_it_is(shop: Shop, is_loaded: bool) -> None:
    """First files that name nobody, then one that names the person, then one that names nobody again."""
    head = VISITS.partition("\n")[0]
    event = "{},{},S9,page_view,,2026-03-0{} 10:00:00,Mozilla,10.0.9.{},,/,desktop,NO,Oslo"
    if is_loaded:
        forget_customer(shop.settings, "C1")
    for day, customer in ((3, ""), (4, "C1"), (5, "")):
        shop.land(
            EVENTS.replace("03-01", f"03-0{day}"),
            "\n".join([head, event.format(f"E{day}", customer, day, day)]),
        )
        if is_loaded:
            load(shop.settings)
    if not is_loaded:
        forget_customer(shop.settings, "C1")
        assert found_in(shop.settings, ["10.0.9."]) == []
        load(shop.settings)
    assert found_in(shop.settings, ["10.0.9."]) == []
    touched = shop.query("select keys ->> 'event_id' from raw.removed_keys where keys ->> 'event_id' = 'E3'")
    assert touched == ([("E3",)] if is_loaded else [])
    assert {each.outcome for each in load(shop.settings, verify=True).outcomes} == {"unchanged"}


def test_a_visit_whose_login_was_rejected_is_forgotten(shop: Shop) -> None:
    head = VISITS.partition("\n")[0]
    event = "{},{},S7,page_view,,{},Mozilla,10.0.7.{},,/,desktop,NO,Oslo"
    rows = [event.format("E7", "", "2026-03-03 10:00:00", 1), event.format("E8", "C1", "never", 2)]
    shop.land(EVENTS.replace("03-01", "03-03"), "\n".join([head, *rows]))
    load(shop.settings)
    forget_customer(shop.settings, "C1")
    assert found_in(shop.settings, ["10.0.7."]) == []


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_replay_from_the_files_rejects_what_was_rejected(shop: Shop, make_settings: Any) -> None:
    forget_customer(shop.settings, "C1")
    counts = "select path, rows_read, rows_loaded, rows_rejected from raw.load_ledger order by path"
    lost = make_settings(ecommerce_dw_home=shop.settings.home)
    load(lost)
    replayed = Shop.__new__(Shop)
    replayed.settings = lost
    assert replayed.query(counts) == shop.query(counts)
    assert found_in(lost, ["anna@example.com", "10.0.0.1"]) == []


def test_what_was_decided_about_a_file_holds_for_the_rewritten_one(
    settings: Settings, make_settings: Any
) -> None:
    file = settings.landing("ecommerce") / CUSTOMERS
    file.parent.mkdir(parents=True)
    bad = RECORDS[2].replace("C1", "C{}")
    file.write_text(HEADER + RECORDS[1] + "\r\n" + "\r\n".join(bad.format(n) for n in range(11, 40)))
    load(settings)
    accept(settings, CUSTOMERS)
    load(settings)
    assert forget_customer(settings, "C2").rejected_rows == 0
    assert last_decisions(settings)["ecommerce", CUSTOMERS].decision == "accept"
    lost = make_settings(ecommerce_dw_home=settings.home)
    assert [each.outcome for each in load(lost).outcomes] == ["loaded"]


def forget_and_die(settings: Settings, customer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget, and end after the file of customers was rewritten and before the ledger was told."""
    put = LocalLanding.put

    def put_and_die(self: LocalLanding, path: str, new: Path) -> None:
        put(self, path, new)
        if path == CUSTOMERS:
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(LocalLanding, "put", put_and_die)
        with pytest.raises(KeyboardInterrupt):
            forget_customer(settings, customer)


@pytest.mark.parametrize("decision", [discard, accept, withdraw])
def test_a_decision_holds_where_the_rewriting_died_before_the_ledger_knew(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, decision: Any
) -> None:
    file = settings.landing("ecommerce") / CUSTOMERS
    file.parent.mkdir(parents=True)
    bad = RECORDS[2].replace("C1", "C{}")
    file.write_text(HEADER + RECORDS[1] + "\r\n" + "\r\n".join(bad.format(n) for n in range(11, 40)))
    loaded = settings.landing("ecommerce") / CUSTOMERS.replace("03-01", "02-28")
    loaded.parent.mkdir()
    loaded.write_text(HEADER + RECORDS[1])
    load(settings)
    if decision is withdraw:
        accept(settings, CUSTOMERS)
    decision(settings, CUSTOMERS)
    forget_and_die(settings, "C2", monkeypatch)
    assert "Li" not in file.read_text()
    status = {discard: "discarded", accept: "loaded", withdraw: "withdrawn"}[decision]
    for _ in range(2):
        load(settings)
        with db.transaction(settings=settings) as cursor:
            cursor.execute(
                "select status, rows_loaded from raw.load_ledger where is_current and path = %s", (CUSTOMERS,)
            )
            assert cursor.fetchall() == [(status, int(decision is accept))]


def test_a_decision_after_an_erasure_is_about_the_bytes_that_lie_there(
    shop: Shop, make_settings: Any
) -> None:
    forget_customer(shop.settings, "C1")
    withdraw(shop.settings, CUSTOMERS)
    assert {each.outcome for each in load(shop.settings, verify=True).outcomes} == {"unchanged"}
    rebuilt = make_settings(ecommerce_dw_home=shop.settings.home)
    outcomes = {each.path: each.outcome for each in load(rebuilt).outcomes}
    assert outcomes[CUSTOMERS] == "set_aside"


def test_a_decision_survives_a_second_erasure_after_one_that_died(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, make_settings: Any
) -> None:
    other = shop.landing / CUSTOMERS.replace("03-01", "02-28")
    other.parent.mkdir()
    other.write_text(HEADER + RECORDS[0] + "\r\n" + RECORDS[1])
    load(shop.settings)
    withdraw(shop.settings, CUSTOMERS)
    forget_and_die(shop.settings, "C1", monkeypatch)
    forget_customer(shop.settings, "C2")
    rebuilt = make_settings(ecommerce_dw_home=shop.settings.home)
    assert {each.path: each.outcome for each in load(rebuilt).outcomes}[CUSTOMERS] == "set_aside"


def test_a_decision_of_a_newer_journal_is_no_erasure(shop: Shop) -> None:
    """As after a restore: what was accepted since is loaded, and not taken for what was withdrawn."""
    withdraw(shop.settings, CUSTOMERS)
    later = HEADER + RECORDS[1].replace("Bob", "Rob")
    (shop.landing / CUSTOMERS).write_text(later)
    digest = hashlib.sha256(later.encode()).hexdigest()
    append(shop.settings, "accept", "ecommerce", CUSTOMERS, digest, reason="")
    assert {each.path: each.outcome for each in load(shop.settings).outcomes}[CUSTOMERS] == "loaded"
    assert shop.query("select erased_at from raw.load_ledger where is_current") == [(None,), (None,)]


def test_who_is_unknown_or_known_twice_is_told(shop: Shop) -> None:
    with pytest.raises(UnknownCustomerError, match="No row of any source has the customer C9"):
        forget_customer(shop.settings, "C9")
    with pytest.raises(UnknownCustomerError, match="There is no source nowhere"):
        forget_customer(shop.settings, "C1", source="nowhere")
    assert not tombstones_file(shop.settings).exists()


def test_who_is_in_rejected_rows_alone_is_forgotten(shop: Shop) -> None:
    file = shop.landing / CUSTOMERS
    file.write_text(HEADER + "\r\n".join((RECORDS[1], RECORDS[2])))
    (shop.landing / EVENTS).unlink()
    load(shop.settings)
    withdraw(shop.settings, EVENTS)
    done = forget_customer(shop.settings, "C1")
    assert (done.rows, done.rejected_rows, done.files) == (0, 3, (CUSTOMERS,))
    assert found_in(shop.settings, ["anna@example.com"]) == []


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_rewritten(shop: Shop) -> None:
    damaged = shop.landing / "customers/dt=2026-02-28/customers.csv.gz"
    damaged.parent.mkdir()
    damaged.write_bytes(gzip.compress(HEADER.encode())[:-9])
    with pytest.raises(LandingError, match=r"2 files rewritten, but not these: .*02-28/.* is cut off"):
        forget_customer(shop.settings, "C1")
    damaged.unlink()
    assert shop.is_forgotten()
    assert forget_customer(shop.settings, "C1").files == ()


def test_a_version_that_comes_while_a_file_is_rewritten_stays(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = (HEADER + RECORDS[1]).encode()
    write = erasure._write

    def deliver_meanwhile(path: Path, file: LandedFile, *rest: Any) -> None:
        write(path, file, *rest)
        if file.path == CUSTOMERS:
            arriving = shop.landing / "arriving.tmp"
            arriving.write_bytes(newer)
            arriving.replace(shop.landing / CUSTOMERS)

    with monkeypatch.context() as context:
        context.setattr(erasure, "_write", deliver_meanwhile)
        with pytest.raises(LandingError, match="delivered again while it was rewritten"):
            forget_customer(shop.settings, "C1")
    assert (shop.landing / CUSTOMERS).read_bytes() == newer


def test_a_load_goes_on_where_a_file_cannot_be_rewritten(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forget_customer(shop.settings, "C1")
    shop.deliver()

    def refuse(self: LocalLanding, path: str, file: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as context:
        context.setattr(LocalLanding, "put", refuse)
        assert load(shop.settings).files_loaded == 2
    assert f"{CUSTOMERS} still has personal data of who is to be forgotten: Permission" in caplog.text
    load(shop.settings)
    assert shop.is_forgotten()


def test_tombstones_of_a_backup_with_another_key_are_not_taken(shop: Shop, tmp_path: Path) -> None:
    forget_customer(shop.settings, "C1")
    saved = tombstones_file(shop.settings).read_text()
    for given, message in (("another key", "with another key"), ("", "no key to read them with")):
        other = settings_at(shop.settings, tmp_path / "elsewhere", given)
        with pytest.raises(TombstoneError, match=message):
            merge_tombstones(other, saved)
        assert not read_tombstones(other)
    key = (tombstones_file(shop.settings).parent / "key").read_text().strip()
    other = settings_at(shop.settings, tmp_path / "elsewhere", key)
    assert merge_tombstones(other, saved) == 2  # the customer, and a visit
    assert read_tombstones(other).among("ecommerce", ["C1", "C2"]) == ["C1"]


def settings_at(settings: Settings, home: Path, key: str) -> Settings:
    return settings.model_copy(update={"ecommerce_dw_home": home, "erasure_key": SecretStr(key)})


def test_tombstones_name_nobody_and_are_asked_for_only_in_private(shop: Shop) -> None:
    forget_customer(shop.settings, "C1")
    file = tombstones_file(shop.settings)
    assert "C1" not in file.read_text() and file.stat().st_mode & 0o777 == 0o600
    tombstones = read_tombstones(shop.settings)
    assert tombstones.among("ecommerce", ["C1", "C2"]) == ["C1"]
    assert tombstones.among("sales", ["C1"]) == []
    other = shop.settings.model_copy(update={"erasure_key": SecretStr("another key")})
    with pytest.raises(TombstoneError, match="another key"):
        load(other)
    file.chmod(0o644)
    with pytest.raises(TombstoneError, match=r"can be read by others \(mode 644\).*chmod 600"):
        load(shop.settings)
    file.chmod(0o600)
    with file.open("a") as lines:
        lines.write('{"hash": "torn')
    with pytest.raises(TombstoneError, match=r"line 3: not a tombstone.*can be deleted"):
        load(shop.settings)


def test_an_empty_key_is_no_key(shop: Shop) -> None:
    forget_customer(shop.settings, "C1")
    file = tombstones_file(shop.settings).with_name("key")
    file.write_text("")
    with pytest.raises(TombstoneError, match="no key to read them with"):
        load(shop.settings)


# ------------------------------------------------------------------------------------ the whole warehouse


@pytest.fixture
def site(postgres: EmbeddedPostgres, template_database: str, tmp_path: Path) -> Iterator[Settings]:
    """A built and published warehouse of four days, in a database that may be dropped and restored."""
    name = "forgetting_dw"
    postgres.execute(f"create database {name} template {template_database} strategy file_copy")
    settings = settings_for(
        postgres, name, tmp_path / "home", backup_dir=tmp_path / "backups", airflow_db="forgetting_none"
    )
    generate(settings.landing("ecommerce"), first=dt.date(2026, 1, 30), last=dt.date(2026, 2, 2), scale=1.0)
    run(settings, "first")
    yield settings
    with (
        contextlib.closing(
            db.connect(settings=settings.model_copy(update={"warehouse_db": "postgres"}))
        ) as c,
        c.cursor() as cursor,
    ):
        cursor.execute("select datname from pg_database where datname ~ '^forgetting'")
        names = [each for (each,) in cursor.fetchall()]
    for each in names:
        postgres.execute(f'drop database "{each}" with (force)')


def run(settings: Settings, run_id: str) -> None:
    run_pipeline(settings, run_id)
    with contextlib.closing(db.connect("transformer", settings=settings)) as connection:
        close_run(connection, run_id, is_success=True)


def values_of(settings: Settings, customer: str) -> list[str]:
    """What says who the customer is, as far as nobody else has it too."""
    columns = ("last_name", "email", "phone", "address")
    with db.transaction(settings=settings) as cursor:
        values: list[str] = []
        for column in columns:
            cursor.execute(
                f"select distinct {column} from raw.ecommerce__customers as mine where customer_id = %(who)s "
                f"and length({column}) > 4 and not exists (select from raw.ecommerce__customers as other "
                f"where other.customer_id <> %(who)s and strpos(other::text, mine.{column}) > 0)",
                {"who": customer},
            )
            values += [value for (value,) in cursor.fetchall()]
    return values


@pytest.mark.slow
def test_a_forgotten_customer_is_nowhere_after_a_replay_and_a_restore(
    site: Settings, postgres: EmbeddedPostgres, template_database: str
) -> None:
    with db.transaction(settings=site) as cursor:
        cursor.execute(
            "select customer_id from warehouse.fact_orders join raw.ecommerce__customers using (customer_id) "
            "where email is not null and source_system = 'ecommerce' "
            "group by 1 order by count(*) desc, 1 limit 1"
        )
        (customer,) = cursor.fetchone() or ("",)
        cursor.execute("select sum(net_amount)::text, count(*) from marts.sales_summary")
        money = cursor.fetchone()
    values = values_of(site, customer)
    assert len(values) >= 2 and len(found_in(site, values)) >= 4  # raw, warehouse, marts, a landed file
    backup = back_up(site, site.home.parent / "a backup")

    done = subprocess.run(
        [str(Path(sys.executable).with_name("ecommerce-dw")), "forget-customer", customer],
        env=os.environ | site.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert found_in(site, values) == []
    with db.transaction(settings=site) as cursor:
        cursor.execute("select sum(net_amount)::text, count(*) from marts.sales_summary")
        assert cursor.fetchone() == money
    after = fingerprint(site)

    # from raw, in full: what the incremental run made of it
    for layer in ("staging", "warehouse", "marts"):
        pipeline.load_step(run_id=f"full {layer}", business_date=None, is_full_refresh=True, settings=site)
        pipeline.build_step(layer, run_id=f"full {layer}", settings=site)
    pipeline.publish_step(run_id="full marts", settings=site)
    assert fingerprint(site) == after

    # from the backup that was taken before
    restore(site, backup.folder, Console(quiet=True), is_agreed=True, drop_old=True)
    assert found_in(site, values) == []
    assert fingerprint(site) == after

    # from the landing zone
    postgres.execute(f"drop database {site.warehouse_db} with (force)")
    postgres.execute(f"create database {site.warehouse_db} template {template_database} strategy file_copy")
    run(site, "from the files")
    assert found_in(site, values) == []
    assert fingerprint(site) == after
