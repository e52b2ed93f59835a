"""What a publication does to the rows and the tables of schema marts."""

from __future__ import annotations

from collections.abc import Callable

import psycopg2.errors
import pytest

from ecommerce_dw import db
from ecommerce_dw.fingerprint import fingerprint
from ecommerce_dw.publish import PublishError, PublishSummary, publish
from ecommerce_dw.settings import Settings

from .conftest import MODELS

Run = Callable[..., list[tuple]]
Republish = Callable[..., PublishSummary]


def contents(settings: Settings, schema: str) -> dict[str, tuple[int, str]]:
    return {entry.table: (entry.rows, entry.checksum) for entry in fingerprint(settings, [schema])}


def touch(run: Run, model: str, load_id: int, *keys: str) -> None:
    """What a model does in the transaction that changes its rows."""
    for key in keys:
        run(
            "insert into ops.touched (model, load_id, source_system, key) values (%s, %s, 'shop', %s)",
            (model, load_id, key),
        )
    run("update ops.model_marks set load_id = %s where model = %s", (load_id, model))


def test_the_first_publication_makes_tables_rows_comments_grants_and_indexes(
    built: Settings, run: Run
) -> None:
    summary = publish(built, run_id="first", models=MODELS)

    assert [(t.name, t.is_full, t.inserted, t.updated, t.deleted, t.notes) for t in summary.tables] == [
        ("customer_amounts", True, 2000, 0, 0, ("table made",)),
        ("day_amounts", True, 1000, 0, 0, ("table made",)),
    ]
    assert contents(built, "marts") == contents(built, "marts_build")
    assert run("select obj_description('marts.customer_amounts'::regclass)") == [("One row per customer.",)]
    assert run("select col_description('marts.customer_amounts'::regclass, 3)") == [("What they spent.",)]
    assert run("select count(*) from pg_indexes where schemaname = 'marts'") == [(3,)]
    analyst = db.connect("analyst", settings=built)
    with analyst, analyst.cursor() as cursor:
        cursor.execute("select sum(amount) from marts.customer_amounts")
        assert cursor.fetchone() == (2000,)
    analyst.close()
    assert run(
        "select run_id, load_id_to, table_name, is_full, rows_inserted, rows_updated, rows_deleted "
        "from ops.publications order by table_name"
    ) == [("first", 1, "customer_amounts", True, 2000, 0, 0), ("first", 1, "day_amounts", True, 1000, 0, 0)]


def test_publishing_again_changes_nothing_and_says_so(republish: Republish) -> None:
    summary = republish()
    assert summary.changed == 0
    assert [table.is_full for table in summary.tables] == [False, False]


def test_only_touched_rows_are_compared_and_only_differing_ones_written(
    republish: Republish, run: Run
) -> None:
    run("update marts_build.customer_amounts set amount = 5 where customer_id = 'c1'")
    run("delete from marts_build.customer_amounts where customer_id = 'c2'")
    run("insert into marts_build.customer_amounts values ('shop', 'new', 7, 'x')")
    touch(run, "customer_amounts", 2, "c1", "c2", "c3", "new")
    run("update marts_build.day_amounts set amount = 9 where period_start = '2025-01-05'")
    touch(run, "day_amounts", 2, "day|2025-01-05")
    before = dict(run("select customer_id, xmin::text from marts.customer_amounts"))

    customers, days = republish().tables

    assert (customers.is_full, customers.inserted, customers.updated, customers.deleted) == (False, 1, 1, 1)
    assert (days.is_full, days.inserted, days.updated, days.deleted) == (False, 0, 1, 0)
    after = dict(run("select customer_id, xmin::text from marts.customer_amounts"))
    assert {key for key in after if after[key] != before.get(key)} == {"c1", "new"}
    assert run("select amount from marts.day_amounts where period_start = '2025-01-05'") == [(9,)]


def test_a_key_that_holds_the_separator_of_its_parts_is_found(republish: Republish, run: Run) -> None:
    for table, role in (("marts_build", "transformer"), ("marts", "publisher")):
        run(f"set role {role}; insert into {table}.day_amounts values ('shop', 'day|early', '2025-01-05', 1)")
    run("reset role")
    run("update marts_build.day_amounts set amount = 9 where period_type = 'day|early'")
    touch(run, "day_amounts", 2, "day|early|2025-01-05")
    run("insert into marts_build.customer_amounts values ('shop', 'a|b', 7, 'x')")
    touch(run, "customer_amounts", 2, "a|b")

    customers, days = republish().tables

    assert (customers.is_full, customers.inserted) == (False, 1)
    assert (days.is_full, days.updated) == (True, 1)


def test_a_row_nobody_touched_is_left_until_a_full_publication(republish: Republish, run: Run) -> None:
    run("set role publisher; update marts.customer_amounts set amount = 99 where customer_id = 'c9'")
    run("reset role")
    touch(run, "customer_amounts", 2, "c1")
    assert republish().changed == 0
    summary = republish(full=True)
    assert (summary.tables[0].is_full, summary.changed) == (True, 1)
    assert run("select amount from marts.customer_amounts where customer_id = 'c9'") == [(1,)]


def test_a_rebuilt_mart_is_compared_in_full_even_when_no_load_came_between(
    republish: Republish, run: Run
) -> None:
    run("update marts_build.customer_amounts set note = 'rebuilt'")
    run("insert into ops.touched (model, load_id, key) values ('customer_amounts', 1, '*')")
    customers, days = republish().tables
    assert (customers.is_full, customers.updated) == (True, 2000)
    assert (days.is_full, days.changed) == (False, 0)


def test_a_mart_without_a_mark_is_always_compared_in_full(republish: Republish, run: Run) -> None:
    run("delete from ops.model_marks where model = 'day_amounts'")
    run("update marts_build.day_amounts set amount = 3 where period_start = '2025-01-02'")
    assert [(t.is_full, t.updated) for t in republish().tables] == [(False, 0), (True, 1)]


def test_null_and_empty_differ_and_a_null_key_part_is_no_match(republish: Republish, run: Run) -> None:
    run("update marts_build.customer_amounts set note = null where customer_id = 'c1'")
    run("update marts_build.customer_amounts set note = '' where customer_id = 'c2'")
    assert republish(full=True).tables[0].updated == 2
    assert republish(full=True).changed == 0


def test_an_added_column_is_made_and_filled_in_the_same_publication(republish: Republish, run: Run) -> None:
    run("alter table marts_build.customer_amounts add column orders integer not null default 4")
    run("comment on column marts_build.customer_amounts.orders is 'How many.'")
    customers = republish().tables[0]
    assert customers.notes == ("column orders added",)
    assert (customers.is_full, customers.updated) == (True, 2000)
    assert run("select distinct orders from marts.customer_amounts") == [(4,)]
    assert run(
        "select attnotnull, col_description(attrelid, attnum) from pg_attribute "
        "where attrelid = 'marts.customer_amounts'::regclass and attname = 'orders'"
    ) == [(True, "How many.")]
    assert republish().changed == 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("alter column note type integer using 1", "column note changes from text to integer"),
        ("drop column note", "column note goes"),
        (
            "drop constraint customer_amounts_pkey, add primary key (customer_id)",
            "primary key changes from (source_system, customer_id) to (customer_id)",
        ),
    ],
)
def test_a_change_that_breaks_readers_is_refused_and_names_them(
    republish: Republish, run: Run, published: Settings, change: str, complaint: str
) -> None:
    run("create view staging.notes as select customer_id, note from marts.customer_amounts")
    run(f"alter table marts_build.customer_amounts {change}")
    before = contents(published, "marts")
    with pytest.raises(PublishError) as refusal:
        republish()
    assert complaint in str(refusal.value)
    assert "staging.notes" in str(refusal.value)
    assert "--replace" in str(refusal.value)
    assert contents(published, "marts") == before


def test_replace_changes_the_column_and_makes_its_views_again(
    republish: Republish, run: Run, published: Settings
) -> None:
    run("create view staging.notes as select customer_id, note from marts.customer_amounts")
    run("comment on view staging.notes is 'Notes.'; grant select on staging.notes to analyst")
    run("create view staging.notes_counted as select count(note) as n from staging.notes")
    run("alter table marts_build.customer_amounts alter column note type integer using length(note)")
    summary = republish(replace=True)
    assert summary.tables[0].notes == ("column note changes from text to integer",)
    assert [warning.split()[0] for warning in summary.warnings] == ["staging.notes", "staging.notes_counted"]
    assert run("select n from staging.notes_counted") == [(2000,)]
    assert run("select obj_description('staging.notes'::regclass)") == [("Notes.",)]
    assert run("select has_table_privilege('analyst', 'staging.notes', 'select')") == [(True,)]
    assert contents(published, "marts") == contents(published, "marts_build")


def test_replace_refuses_when_a_view_cannot_be_made_again(
    republish: Republish, run: Run, published: Settings
) -> None:
    run("create view staging.notes as select customer_id, note from marts.customer_amounts")
    run("alter table marts_build.customer_amounts drop column note")
    before = contents(published, "marts")
    with pytest.raises(PublishError, match=r"staging\.notes reads marts\.customer_amounts and cannot"):
        republish(replace=True)
    assert contents(published, "marts") == before
    assert run("select count(*) from staging.notes") == [(2000,)]


def test_replace_takes_over_another_primary_key(republish: Republish, run: Run, published: Settings) -> None:
    run(
        "alter table marts_build.customer_amounts "
        "drop constraint customer_amounts_pkey, add primary key (customer_id)"
    )
    republish(replace=True)
    assert contents(published, "marts") == contents(published, "marts_build")
    assert run(
        "select pg_get_constraintdef(oid) from pg_constraint where contype = 'p' "
        "and conrelid = 'marts.customer_amounts'::regclass"
    ) == [("PRIMARY KEY (customer_id)",)]


def test_a_column_may_become_optional(republish: Republish, run: Run) -> None:
    run("alter table marts_build.day_amounts add column units integer not null default 1")
    republish()
    run("alter table marts_build.day_amounts alter column units drop not null")
    run("update marts_build.day_amounts set units = null where period_start = '2025-01-01'")
    assert republish(full=True).tables[1].updated == 1


def test_comments_and_grants_follow_the_built_table(republish: Republish, run: Run) -> None:
    run("comment on table marts_build.customer_amounts is 'Spending.'")
    run("comment on column marts_build.customer_amounts.amount is null")
    run("comment on column marts_build.customer_amounts.note is 'It''s a note.'")
    run("grant select on marts_build.customer_amounts to loader")
    run("revoke select on marts_build.customer_amounts from analyst")
    republish()
    assert run("select obj_description('marts.customer_amounts'::regclass)") == [("Spending.",)]
    assert run(
        "select col_description('marts.customer_amounts'::regclass, n) from generate_series(3, 4) as n"
    ) == [(None,), ("It's a note.",)]
    assert run(
        "select r, has_table_privilege(r, 'marts.customer_amounts', 'select') "
        "from unnest(array['analyst', 'loader']) as r"
    ) == [("analyst", False), ("loader", True)]


def test_a_column_that_is_hidden_stays_hidden_and_is_masked(
    republish: Republish, run: Run, published: Settings
) -> None:
    def asked(query: str) -> list[tuple]:
        with db.transaction("analyst", settings=published) as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    assert asked("select count(note) from marts.customer_amounts") == [(2000,)]
    run("revoke select on marts_build.customer_amounts from analyst")
    run("grant select (source_system, customer_id, amount) on marts_build.customer_amounts to analyst")
    republish()
    assert asked("select sum(amount) from marts.customer_amounts") == [(2000,)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        asked("select note from marts.customer_amounts")
    assert asked("select distinct note from customer_amounts") == [("***",)]
    # Other columns: the view is made again over them, and is none of the readers that would break.
    run("alter table marts_build.customer_amounts drop column note")
    run("alter table marts_build.customer_amounts add column mail text")
    republish(replace=True)
    assert asked("select count(*), count(mail) from customer_amounts") == [(2000, 0)]
    assert run("select count(*) from pg_class where relname = 'customer_amounts'") == [(3,)]
    run("grant select on marts_build.customer_amounts to analyst")
    republish()
    assert run("select to_regclass('masked.customer_amounts')") == [(None,)]


def test_a_view_over_a_masked_one_lets_columns_come_and_go(
    republish: Republish, run: Run, published: Settings
) -> None:
    run("revoke select on marts_build.customer_amounts from analyst")
    run("grant select (source_system, customer_id, amount) on marts_build.customer_amounts to analyst")
    republish()
    with db.transaction(settings=published) as cursor:
        cursor.execute("set local role publisher")
        cursor.execute("create view marts.seen as select amount, note from masked.customer_amounts")
    run("alter table marts_build.customer_amounts add column mail text")
    republish()
    assert run("select count(*), min(note) from marts.seen") == [(2000, "***")]
    run("alter table marts_build.customer_amounts drop column mail")
    republish(replace=True)
    assert run("select count(*), min(note) from marts.seen") == [(2000, "***")]
    run("grant select on marts_build.customer_amounts to analyst")
    with pytest.raises(PublishError, match=r"marts\.seen.*masked\.customer_amounts"):
        republish()


def test_what_a_release_before_published_as_transformer_is_adopted(
    republish: Republish, run: Run, published: Settings
) -> None:
    with db.transaction(settings=published) as cursor:
        cursor.execute("alter table marts.customer_amounts owner to transformer")
        cursor.execute("create view marts.all_amounts as select * from marts.customer_amounts")
        cursor.execute("alter view marts.all_amounts owner to transformer")
    run("update marts_build.customer_amounts set note = 'second' where customer_id = 'c1'")
    assert republish(full=True).changed == 1
    assert run(
        "select distinct pg_get_userbyid(relowner) from pg_class where relnamespace = 'marts'::regnamespace "
        "and relkind in ('r', 'v')"
    ) == [("publisher",)]
    assert run("select count(*) from marts.all_amounts") == [(2000,)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run("delete from marts.customer_amounts")


def test_a_table_without_its_model_stays_with_a_warning_until_pruned(republish: Republish, run: Run) -> None:
    summary = republish(models=["day_amounts"])
    assert [table.name for table in summary.tables] == ["day_amounts"]
    assert "marts.customer_amounts has no model any more" in summary.warnings[0]
    assert run("select count(*) from marts.customer_amounts") == [(2000,)]
    assert republish(models=["day_amounts"], prune=True).dropped == ("customer_amounts",)
    assert run("select to_regclass('marts.customer_amounts')") == [(None,)]
    assert run("select model from ops.model_marks order by 1") == [
        ("day_amounts",),
        ("publication:day_amounts",),
    ]


def test_prune_refuses_while_a_view_reads_the_table(republish: Republish, run: Run) -> None:
    run("create view staging.notes as select customer_id, note from marts.customer_amounts")
    with pytest.raises(PublishError, match=r"read by staging\.notes"):
        republish(models=["day_amounts"], prune=True)


def test_a_mart_that_is_not_built_refuses_the_publication(built: Settings, run: Run) -> None:
    with pytest.raises(PublishError, match=r"Not built: marts_build\.sales_amounts"):
        publish(built, models=[*MODELS, "sales_amounts"])
    assert run("select to_regclass('marts.day_amounts')") == [(None,)]


def test_a_mart_without_a_primary_key_refuses_the_publication(built: Settings, run: Run) -> None:
    run("alter table marts_build.day_amounts drop constraint day_amounts_pkey")
    with pytest.raises(PublishError, match=r"marts_build\.day_amounts has no primary key"):
        publish(built, models=MODELS)


def test_what_every_reader_has_passed_is_forgotten(republish: Republish, run: Run) -> None:
    run("delete from ops.touched")
    run("insert into ops.touched (model, load_id, key) values ('fact', 2, 'a'), ('fact', 3, 'b')")
    run("create table intermediate.int_states (n integer)")
    run(
        "insert into ops.model_marks (model, load_id, touched_seq) values ('no_table', 0, 0), "
        "('int_states', 2, (select min(touched_seq) from ops.touched))"
    )
    for model, key in (("customer_amounts", "c1"), ("day_amounts", "day|2025-01-01")):
        touch(run, model, 3, key)
        run(
            "update ops.model_marks set touched_seq = (select max(touched_seq) from ops.touched) "
            "where model = %s",
            (model,),
        )
    republish()
    assert run("select key from ops.touched order by touched_seq") == [("b",), ("c1",), ("day|2025-01-01",)]
    run("drop table intermediate.int_states")
    republish()
    assert run("select key from ops.touched") == [("day|2025-01-01",)]


def test_readers_that_hold_rows_do_not_block_a_publication(
    republish: Republish, run: Run, published: Settings
) -> None:
    reader = db.connect("analyst", settings=published)
    reader.set_session(isolation_level="REPEATABLE READ", readonly=True)
    with reader.cursor() as cursor:
        cursor.execute("select sum(amount) from marts.customer_amounts")
        run("update marts_build.customer_amounts set amount = 2")
        assert republish(full=True).tables[0].updated == 2000
        cursor.execute("select sum(amount) from marts.customer_amounts")
        assert cursor.fetchone() == (2000,)
    reader.close()


def test_a_reader_in_the_way_of_a_new_column_is_named(
    republish: Republish, run: Run, published: Settings
) -> None:
    impatient = published.model_copy(update={"table_lock_wait_seconds": 0.2})
    reader = db.connect("analyst", settings=published, application_name="a dashboard")
    with reader.cursor() as cursor:
        cursor.execute("select count(*) from marts.customer_amounts")
        run("alter table marts_build.customer_amounts add column orders integer")
        with pytest.raises(
            PublishError,
            match=r"0\.2 s.*\(analyst, a dashboard\) since \d\d:\d\d:\d\d UTC: marts\.",
        ):
            publish(impatient, models=MODELS)
        # Its own error is told also where the owner, who is asked, can't log in.
        keyless = impatient.model_copy(update={"warehouse_user": "nobody_of_this_name"})
        with pytest.raises(PublishError, match=r"0\.2 s.* In use by: unknown, the server does not tell"):
            publish(keyless, models=MODELS)
    reader.close()
    assert republish().tables[0].notes == ("column orders added",)


def test_a_publication_waits_for_the_transform_lock_and_names_its_holder(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(lock_wait_seconds=0.2)
    keyless = settings.model_copy(update={"warehouse_user": "nobody_of_this_name"})
    with db.transform_lock(holder="build warehouse", settings=settings):
        for each in (settings, keyless):  # also where the owner, who is asked, can't log in
            with pytest.raises(db.LockHeldError, match="build warehouse"):
                publish(each, models=[])
