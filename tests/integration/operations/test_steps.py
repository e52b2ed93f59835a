"""What each step of a run cost is kept, whether it succeeds or fails."""

from __future__ import annotations

import psycopg2.extensions
import pytest

from ecommerce_dw.settings import Settings
from ecommerce_dw.steps import measured, written_since


def test_a_step_leaves_its_time_memory_and_rows(
    settings: Settings, owner: psycopg2.extensions.connection
) -> None:
    with measured("load", "run", settings) as step:
        step.row_count = 3
    with pytest.raises(ValueError, match="it broke"), measured("build_marts", "run", settings):
        raise ValueError("it broke")

    with owner.cursor() as cursor:
        cursor.execute(
            "select step, is_success, row_count, peak_memory_bytes > 10000000, finished_at >= started_at "
            "from ops.run_steps where run_id = 'run' order by run_step_id"
        )
        assert cursor.fetchall() == [("load", True, 3, True, True), ("build_marts", False, None, True, True)]


def test_a_database_that_cannot_keep_it_does_not_fail_the_step(
    settings: Settings, owner: psycopg2.extensions.connection, caplog: pytest.LogCaptureFixture
) -> None:
    with owner.cursor() as cursor:
        cursor.execute("drop table ops.run_steps")
    with measured("load", "run", settings):
        pass
    assert "What load cost is not kept" in caplog.text


def test_rows_written_are_changed_keys_and_the_whole_of_what_was_built_anew(
    settings: Settings, owner: psycopg2.extensions.connection
) -> None:
    with owner.cursor() as cursor:
        cursor.execute(
            "create table intermediate.int_day as select generate_series(1, 40); "
            "analyze intermediate.int_day; "
            "insert into ops.touched (model, load_id, key) "
            "values ('int_old', 1, 'a'), ('int_old', 1, 'b'), ('int_day', 2, '*'), ('int_other', 2, 'c')"
        )
    assert written_since(settings, 0) == 43
    assert written_since(settings, 2) == 41
    assert written_since(settings, 4) == 0
