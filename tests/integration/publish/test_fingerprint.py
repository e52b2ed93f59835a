"""A fingerprint tells what a table holds, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psycopg2.extensions
import pytest
from click.testing import CliRunner

from ecommerce_dw import fingerprint as module
from ecommerce_dw.cli import main
from ecommerce_dw.fingerprint import fingerprint
from ecommerce_dw.settings import Settings

Run = Callable[..., list[tuple]]


def of(settings: Settings) -> dict[str, tuple[int, str]]:
    return {entry.table: (entry.rows, entry.checksum) for entry in fingerprint(settings, ["warehouse"])}


def test_the_order_of_rows_and_columns_and_technical_stamps_do_not_matter(
    settings: Settings, run: Run
) -> None:
    run(
        "create table warehouse.a "
        "(n integer, t text, at timestamptz, dbt_loaded_at timestamptz, _file_id bigint)"
    )
    run("create table warehouse.b (_file_id bigint, at timestamptz, t text, n integer)")
    run(
        "insert into warehouse.a "
        "select n, 'x' || n, to_timestamp(n), now(), n from generate_series(1, 100) as n"
    )
    run("insert into warehouse.b select 0, at, t, n from warehouse.a order by n desc")
    found = of(settings)
    assert found["a"] == found["b"]
    assert found["a"][0] == 100


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("1.50::numeric", "1.5::numeric", True),
        ("null::text", "''::text", False),
        ("'null'::text", "null::text", False),
        ("'a,b'::text", "'a'::text", False),
        ("timestamptz '2025-01-01 00:00+00'", "timestamptz '2025-01-01 01:00+01'", True),
        ("0.1::double precision", "0.1::real::double precision", False),
        ("0.1::double precision", "0.30000000000000004::double precision - 0.2", False),
        ("1::bigint", "2::bigint", False),
    ],
)
def test_equal_values_are_equal_and_others_are_not(
    settings: Settings, run: Run, first: str, second: str, is_same: bool
) -> None:
    run(f"create table warehouse.a as select {first} as v")
    run(f"create table warehouse.b as select {second} as v")
    found = of(settings)
    assert (found["a"] == found["b"]) is is_same


def test_a_row_twice_is_not_a_row_once_and_an_empty_table_is_zero(settings: Settings, run: Run) -> None:
    run("create table warehouse.a as select 1 as v union all select 1")
    run("create table warehouse.b as select 1 as v")
    run("create table warehouse.none (v integer)")
    found = of(settings)
    assert found["a"] != found["b"]
    assert found["none"] == (0, "0" * 32)


def test_values_that_move_between_rows_show(settings: Settings, run: Run) -> None:
    run("create table warehouse.a as select * from (values (1, 'x'), (2, 'y')) as v (n, t)")
    run("create table warehouse.b as select * from (values (1, 'y'), (2, 'x')) as v (n, t)")
    found = of(settings)
    assert found["a"] != found["b"]


def test_partitioned_tables_count_once_and_views_do_not(settings: Settings, run: Run) -> None:
    run("create table warehouse.p (d date) partition by range (d)")
    run("create table warehouse.p1 partition of warehouse.p for values from ('2025-01-01') to ('2025-02-01')")
    run("insert into warehouse.p values ('2025-01-05')")
    run("create view warehouse.v as select * from warehouse.p")
    run("create table warehouse.flat as select date '2025-01-05' as d")
    found = of(settings)
    assert set(found) == {"p", "flat"}
    assert found["p"] == found["flat"]


def test_the_settings_of_the_role_do_not_matter(
    settings: Settings, run: Run, owner: psycopg2.extensions.connection
) -> None:
    run(
        "create table warehouse.a as "
        "select timestamptz '2025-03-04 05:06+00' as t, interval '26 hours' as i, 0.1::float8 as f"
    )
    before = of(settings)
    with owner.cursor() as cursor:
        for setting in (
            "datestyle to 'SQL, DMY'",
            "extra_float_digits to -5",
            "intervalstyle to 'postgres_verbose'",
        ):
            cursor.execute(f"alter role transformer in database {settings.warehouse_db} set {setting}")
    assert of(settings) == before


def test_a_schema_that_is_not_there_is_named(settings: Settings) -> None:
    with pytest.raises(ValueError, match="There is no schema nowhere"):
        fingerprint(settings, ["nowhere"])


def test_the_command_prints_lines_and_json(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("set role publisher; create table marts.a as select 1 as v; reset role")
    monkeypatch.setattr(module, "get_settings", lambda: settings)
    lines = CliRunner().invoke(main, ["fingerprint", "--schema", "marts"], catch_exceptions=False)
    entries = CliRunner().invoke(main, ["fingerprint", "--schema", "marts", "--json"], catch_exceptions=False)
    (entry,) = json.loads(entries.output)
    assert (entry["schema"], entry["table"], entry["rows"]) == ("marts", "a", 1)
    assert entry["checksum"] in lines.output
    assert CliRunner().invoke(main, ["fingerprint", "--schema", "nowhere"]).exit_code == 2


def test_a_saved_state_is_compared_table_by_table(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "get_settings", lambda: settings)
    run("create table warehouse.a (n integer)")
    run("create table warehouse.b (n integer)")
    run("insert into warehouse.a values (1), (2)")
    options = ["fingerprint", "--schema", "warehouse"]
    saved = tmp_path / "before.json"
    saved.write_text(CliRunner().invoke(main, [*options, "--json"]).output)
    unchanged = CliRunner().invoke(main, [*options, "--compare", str(saved)])
    assert unchanged.exit_code == 0
    assert "2 tables are the same, 0 differ." in unchanged.output

    run("update warehouse.a set n = 3 where n = 2")
    run("drop table warehouse.b")
    run("create table warehouse.c (n integer)")
    changed = CliRunner().invoke(main, [*options, "--compare", str(saved)])
    assert changed.exit_code == 1
    assert changed.output.splitlines() == [
        "warehouse.a: differs (2 rows before, 2 rows now)",
        "warehouse.b: differs (0 rows before, not there now)",
        "warehouse.c: differs (not there before, 0 rows now)",
        "0 tables are the same, 3 differ.",
    ]

    saved.write_text('[{"what": 1}]')
    refused = CliRunner().invoke(main, [*options, "--compare", str(saved)])
    assert refused.exit_code == 2
    assert "is not what `ecommerce-dw fingerprint --json` prints" in refused.output
