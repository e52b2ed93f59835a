"""The steps of the DAG maintenance: what they delete, and what they leave."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Callable
from typing import Any

import psycopg2.extensions
import pytest

from ecommerce_dw import maintenance
from ecommerce_dw.maintenance import NothingToDoError
from ecommerce_dw.platform import database
from ecommerce_dw.settings import Settings


def rows(owner: psycopg2.extensions.connection, query: str) -> list[Any]:
    with owner.cursor() as cursor:
        cursor.execute(query)
        return [row[0] for row in cursor.fetchall()]


def execute(owner: psycopg2.extensions.connection, statement: str) -> None:
    with owner.cursor() as cursor:
        cursor.execute(statement)


def test_outcomes_are_kept_for_so_long_before_the_newest(
    settings: Settings, owner: psycopg2.extensions.connection
) -> None:
    execute(
        owner,
        """
        insert into ops.load_attempts (source, path, outcome, started_at, finished_at)
        select 's', 'old ' || days, 'unchanged', at, at
        from (values (0), (29), (31), (400)) as ages (days)
        cross join lateral (select timestamptz '2020-01-01' - make_interval(days => days) as at) as moments;

        insert into ops.expectation_results
            (run_id, checkpoint, suite, name, expectation_type, object, severity, is_success, checked_at)
        values
            ('r1', 'raw', 's', 'n', 't', 'o', 'warning', false, '2019-01-01'),
            ('r2', 'raw', 's', 'n', 't', 'o', 'warning', false, '2019-01-02'),
            ('r3', 'marts', 's', 'n', 't', 'o', 'warning', false, '2020-01-01');

        insert into ops.incidents (scope, object, rule, severity, title, opened_at, closed_at)
        values
            ('d', 'o', 'closed long ago', 'warning', '', '2019-01-01', '2019-01-02'),
            ('d', 'o', 'still open', 'warning', '', '2019-01-01', null),
            ('d', 'o', 'closed lately', 'warning', '', '2020-01-01', '2020-01-02');
        insert into ops.alerts (incident_id, kind, severity, title, body, raised_at)
        select incident_id, 'opened', severity, rule, '', opened_at from ops.incidents;
        """,
    )
    kept = settings.model_copy(update={"ops_keep_days": 30})
    deleted = maintenance.prune_outcomes(kept)
    assert rows(owner, "select path from ops.load_attempts order by 1") == ["old 0", "old 29"]
    # the latest of each checkpoint, however old
    assert rows(owner, "select run_id from ops.expectation_results order by 1") == ["r2", "r3"]
    for table in ("select rule from ops.incidents", "select title from ops.alerts"):
        assert set(rows(owner, table)) == {"still open", "closed lately"}
    assert {table: count for table, count in deleted.items() if count} == {
        "load_attempts": 2,
        "expectation_results": 1,
        "alerts": 1,
        "incidents": 1,
    }
    assert not any(maintenance.prune_outcomes(kept).values()), "again deletes nothing"


def test_old_logs_go_and_others_stay(settings: Settings) -> None:
    now = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    ages = {
        "logs/tasks/dag_id=a/run_id=1/task_id=t/attempt=1.log": 31,
        "logs/tasks/dag_id=a/run_id=2/task_id=t/attempt=1.log": 29,
        "logs/scheduler.log": 400,  # is written to
        "logs/scheduler.log.1": 31,
        "dbt/logs/dbt.log": 400,
        "dbt/logs/dbt.log.1": 31,
        "landing/ecommerce/old.csv": 400,
    }
    for name, days in ages.items():
        path = settings.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        at = (now - dt.timedelta(days=days)).timestamp()
        os.utime(path, (at, at))
    assert maintenance.prune_logs(settings, now) == 3
    left = {str(path.relative_to(settings.home)) for path in settings.home.rglob("*") if path.is_file()}
    assert left == {name for name, days in ages.items() if days == 29 or days == 400}


def test_what_needs_it_is_vacuumed_and_analyzed(
    settings: Settings, owner: psycopg2.extensions.connection
) -> None:
    execute(
        owner,
        """
        create table raw.much as select generate_series(1, 5000) as id;
        alter table raw.much set (autovacuum_enabled = false);
        create table raw.by_month (day date) partition by range (day);
        create table raw.by_month_1 partition of raw.by_month
            for values from ('2026-01-01') to ('2026-02-01');
        insert into raw.by_month values ('2026-01-05');
        create table raw.held (id int);
        """,
    )
    execute(owner, "delete from raw.much")
    execute(owner, "select pg_stat_force_next_flush()")
    done = maintenance.vacuum(settings)
    assert "raw.much" in done.vacuumed
    assert "raw.by_month" in done.analyzed
    assert not {"raw.held", "raw.load_ledger"} & {*done.vacuumed, *done.analyzed}
    assert rows(owner, "select reltuples::int from pg_class where relname = 'by_month'") == [1]


def test_a_table_that_is_held_is_left_for_the_next_night(
    settings: Settings, owner: psycopg2.extensions.connection
) -> None:
    execute(owner, "create table raw.by_month (day date) partition by range (day)")
    with contextlib.closing(database.connect(settings)) as other, other.cursor() as cursor:
        cursor.execute("begin; lock table raw.by_month in access exclusive mode")
        assert maintenance.vacuum(settings).busy == ("raw.by_month",)


@pytest.mark.parametrize("step", [maintenance.backup_step, maintenance.prune_backups_step])
def test_without_a_place_for_backups_the_step_says_what_to_set(
    settings: Settings, step: Callable[[Settings], object]
) -> None:
    with pytest.raises(NothingToDoError, match="BACKUP_DIR"):
        step(settings)


def test_metadata_out_of_reach_are_named_with_the_command(settings: Settings) -> None:
    apart = settings.model_copy(update={"airflow_db_host": "airflow-db", "airflow_host": "api"})
    with pytest.raises(NothingToDoError, match=r"run airflow db clean --clean-before-timestamp"):
        maintenance.prune_metadata(apart)


def test_a_failed_task_opens_an_incident_and_its_success_closes_it(
    settings: Settings, owner: psycopg2.extensions.connection
) -> None:
    states = {"backup": "failed", "prune_logs": "success", "vacuum": "upstream_failed"}
    opened = maintenance.finish_step(run_id="night 1", task_states=states, settings=settings)
    assert opened["opened"] == ["Task failed: maintenance.backup"]
    again = maintenance.finish_step(run_id="night 2", task_states=states, settings=settings)
    assert (again["opened"], again["closed"]) == ([], [])
    over = maintenance.finish_step(run_id="night 3", task_states={"backup": "success"}, settings=settings)
    assert over["closed"] == ["Task failed: maintenance.backup"]
    assert rows(owner, "select scope from ops.incidents") == ["maintenance"]
