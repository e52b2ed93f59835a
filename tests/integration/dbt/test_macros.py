"""Macros of general use, in a small project of their own on a real database."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from ecommerce_dw import db
from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port
from ecommerce_dw.settings import PROJECT_DIR, Settings
from tests.conftest import settings_for
from tests.support.dbt_warehouse import environment

DBT = PROJECT_DIR / "dbt"

FILES = {
    "dbt_project.yml": f"""
name: small
profile: ecommerce_dw
macro-paths: ["{DBT / "macros"}"]
models: {{+schema: staging, +materialized: table}}
seeds: {{+schema: staging, +column_types: {{min_amount: numeric}}}}
""",
    "seeds/sale_sizes.csv": """currency,sale_size,min_amount
USD,large,200
USD,small,0
USD,medium,50
JPY,small,5000
""",
    "models/sized.sql": """
select sales.case_number, {{ categorize_sale_size('sales.amount') }} as sale_size
from (
    values
        (1, 'USD', 0), (2, 'USD', 49.99), (3, 'USD', 50), (4, 'USD', 199.99), (5, 'USD', 200),
        (6, 'USD', 1e12), (7, 'USD', -0.01), (8, 'USD', null), (9, 'JPY', 4999), (10, 'JPY', 5000),
        (11, 'EUR', 70), (12, null, 70)
) as sales (case_number, currency, amount)
left join ({{ sale_size_bounds() }}) as sale_sizes on sales.currency = sale_sizes.currency
""",
    "models/empty.sql": "select 1 as one where false",
    "models/three.sql": "select one from generate_series(1, 3) as numbers (one)",
    "models/asked.sql": """
-- depends_on: {{ ref('three') }} {{ ref('empty') }}
{%- set rows = query(
    "select * from (values ('007', 2, null), ('b', 3, null)) as rows (code, units, nothing) order by 1") %}
select
    {{ rows | length }} as row_count,
    '{% for row in rows %}{{ row.code }}/{{ row.units | int }}/{{ row.nothing }};{% endfor %}' as rows_read,
    '{{ query("select 1 where false") }}' as no_rows,
    '{{ query("create temporary table kept as select 1 as one") }}' as no_query,
    {{ query_value("select 40 + 2") or 0 }} as one_value,
    '{{ query_value("select 1 where false", "nothing") }}' as default_value,
    {{ get_row_count(ref('three')) }} as three,
    {{ get_row_count(ref('empty')) }} as empty,
    {{ get_row_count('staging.not_there') }} as not_there,
    {{ get_row_count('not_there_either.at_all') }} as nowhere,
    {{ get_row_count('pg_temp.kept') }} as of_the_session
""",
    "models/loose.sql": """
select * from (values (1, 'a'), (1, 'a'), (1, 'b'), (2, 'b'), (null, 'c')) as rows (one, two)
""",
    "models/nullable.sql": """
{{ config(indexes=[{'columns': ['two', 'one'], 'unique': true}]) }}
select * from (values (1, 'a'), (1, 'b'), (null, 'c'), (null, 'c')) as rows (one, two)
""",
    "models/kept.sql": """
{{ config(
    indexes=[{'columns': ['two', 'one'], 'unique': true}],
    post_hook='alter table {{ this }} alter column one set not null, alter column two set not null'
) }}
select * from (values (1, 'a'), (1, 'b'), (2, 'b')) as rows (one, two)
""",
    "models/by_expression.sql": """
{{ config(post_hook='create unique index on {{ this }} (one, lower(two))') }}
select * from (values (1, 'a'), (1, 'b')) as rows (one, two)
""",
    "models/keys.yml": """
models:
  - name: loose
    data_tests:
      - primary_key:
          name: primary_key_of_loose
          arguments: {columns: [one, two]}
          config: {severity: warn}
      - unique_combination:
          name: unique_combination_of_loose
          arguments: {columns: [one, two]}
          config: {severity: warn}
      - unique_combination:
          name: part_of_loose
          arguments: {columns: [one]}
          config: {severity: warn, where: "two <> 'c'"}
  - name: nullable
    data_tests:
      - primary_key:
          name: primary_key_of_nullable
          arguments: {columns: [one, two]}
          config: {severity: warn}
  - name: by_expression
    data_tests:
      - unique_combination:
          name: unique_combination_of_by_expression
          arguments: {columns: [one]}
          config: {severity: warn}
  - name: kept
    data_tests:
      - primary_key:
          name: primary_key_of_kept
          arguments: {columns: [one, two]}
          config: {severity: warn}
      - unique_combination:
          name: part_of_kept
          arguments: {columns: [one, two]}
          config: {severity: warn, where: "two <> 'c'"}
      - unique_combination:
          name: less_than_the_key_of_kept
          arguments: {columns: [two]}
          config: {severity: warn}
""",
    "models/amounts.sql": """
select *
from (
    values
        ('sound', 'USD', 1.10, 0), ('sound', 'JPY', 700, 0.0), ('sound', 'KWD', 1.125, 0),
        ('sound', 'USD', 999, null), ('missing', 'USD', null, 0), ('zero', 'USD', 0, 0),
        ('negative', 'USD', -1, -1), ('below a cent', 'USD', 1.001, 0), ('below a yen', 'JPY', 1.5, 0),
        ('below a fils', 'KWD', 1.1234, 0), ('no number', 'USD', 'NaN', 'Infinity'),
        ('too much', 'USD', 1000.01, 0), ('finer tax', 'USD', 1, 0.005)
) as amounts (id, currency, paid, tax)
""",
    "models/amounts.yml": """
models:
  - name: amounts
    data_tests:
      - valid_transaction_amount:
          name: strict
          arguments:
            key: [id]
            amounts: {paid: positive, tax: non_negative}
            optional: [tax]
            maximum: 1000
          config: {severity: warn}
      - valid_transaction_amount:
          name: lenient
          arguments:
            key: [id]
            amounts: {paid: any}
            decimals: 4
          config: {severity: warn, where: "currency = 'USD' and id <> 'no number'"}
""",
}


class SmallProject:
    """A project with the macros and a few models that use them.

    Args:
        settings: Of its database.
        folder: Where it is written.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.compiled: dict[str, str] = {}
        for name, text in FILES.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)

    def run(self, *arguments: str, port: int | None = None) -> Any:
        """Run dbt on it; dbt's result."""
        from dbt.cli.main import dbtRunner

        own = self.settings.model_copy(update={"warehouse_port": port}) if port else self.settings
        with environment(own):
            outcome = dbtRunner().invoke(
                [
                    "--quiet",
                    *arguments,
                    "--project-dir", str(self.folder),
                    "--profiles-dir", str(DBT),
                    "--target-path", str(self.folder / "target"),
                    "--log-level-file", "none",
                ]
            )  # fmt: skip
        assert outcome.success, outcome.exception or [result.message for result in outcome.result.results]
        return outcome.result

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with (
            contextlib.closing(db.connect("owner", settings=self.settings)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query)
            return cursor.fetchall()

    def failing(self, test: str) -> list[tuple[Any, ...]]:
        """The rows that a data test finds, sorted."""
        found = self.compiled[test]
        return self.rows(
            f"select id, amount_name, amount::text, reason from ({found}) as found order by 1, 2"
        )


@pytest.fixture(scope="module")
def small(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> SmallProject:
    """The small project, built."""
    postgres.execute(f"create database macros template {template_database} strategy file_copy")
    folder = tmp_path_factory.mktemp("macros")
    project = SmallProject(settings_for(postgres, "macros", folder), folder)
    # nothing is asked at parse time: there is no server at that port
    project.run("parse", port=free_port())
    for result in project.run("build").results:
        project.compiled[result.node.name] = getattr(result.node, "compiled_code", "")  # a seed has none
    return project


def test_a_sale_has_the_size_that_begins_at_or_below_its_amount(small: SmallProject) -> None:
    assert dict(small.rows("select case_number, sale_size from staging.sized")) == {
        1: "small",
        2: "small",
        3: "medium",  # a bound belongs to the size it begins
        4: "medium",
        5: "large",
        6: "large",
        7: None,  # below the first bound
        8: None,  # no amount
        9: None,
        10: "small",  # the same word for another amount in another currency
        11: None,  # a currency without bounds
        12: None,
    }


def test_queries_and_counts_are_of_the_moment(small: SmallProject) -> None:
    assert small.rows("select * from staging.asked") == [
        (2, "007/2/None;b/3/None;", "[]", "[]", 42, "nothing", 3, 0, 0, 0, 1)
    ]


def test_the_rows_of_a_schema_are_counted_for_a_person(
    small: SmallProject, capsys: pytest.CaptureFixture[str]
) -> None:
    small.run("run-operation", "log_row_counts", "--args", "{schema: staging}")
    assert capsys.readouterr().out.splitlines() == [
        "staging.amounts: 13 rows",
        "staging.asked: 1 rows",
        "staging.by_expression: 2 rows",
        "staging.empty: 0 rows",
        "staging.kept: 3 rows",
        "staging.loose: 5 rows",
        "staging.nullable: 4 rows",
        "staging.sale_sizes: 4 rows",
        "staging.sized: 12 rows",
        "staging.three: 3 rows",
    ]


def test_keys_of_several_rows_and_missing_keys_are_found(small: SmallProject) -> None:
    def found(name: str) -> list[tuple[Any, ...]]:
        return sorted(small.rows(small.compiled[name]), key=str)

    assert found("primary_key_of_loose") == [(1, "a", 2), (None, "c", 1)]
    assert found("unique_combination_of_loose") == [(1, "a", 2)]
    assert found("part_of_loose") == [(1, 3)]
    # an index takes one null for another than the next
    assert found("primary_key_of_nullable") == [(None, "c", 1), (None, "c", 1), (None, "c", 2)]
    assert found("unique_combination_of_by_expression") == [(1, 2)]
    assert found("less_than_the_key_of_kept") == [("b", 2)]


def test_a_key_that_a_unique_index_holds_is_not_counted_again(small: SmallProject) -> None:
    def scans(name: str) -> list[bool]:
        plan = [line for (line,) in small.rows(f"explain (analyze) {small.compiled[name]}")]
        return ["never executed" in line for line in plan if "Seq Scan on" in line and "pg_" not in line]

    assert scans("primary_key_of_kept") == [True]  # and nulls cannot be
    assert scans("part_of_kept") == [True]
    assert scans("less_than_the_key_of_kept") == [False]
    assert scans("primary_key_of_loose") == [False, False]


def test_each_kind_of_bad_amount_is_found_and_named(small: SmallProject) -> None:
    assert small.failing("strict") == [
        ("below a cent", "paid", "1.001", "has too many decimals"),
        ("below a fils", "paid", "1.1234", "has too many decimals"),
        ("below a yen", "paid", "1.5", "has too many decimals"),
        ("finer tax", "tax", "0.005", "has too many decimals"),
        ("missing", "paid", None, "is missing"),
        ("negative", "paid", "-1", "is not positive"),
        ("negative", "tax", "-1", "is negative"),
        ("no number", "paid", "NaN", "is no number"),
        ("no number", "tax", "Infinity", "is no number"),
        ("too much", "paid", "1000.01", "is more than 1000"),
        ("zero", "paid", "0", "is not positive"),
    ]


def test_an_amount_of_any_sign_with_more_decimals_is_fine_where_a_test_allows_it(small: SmallProject) -> None:
    assert small.failing("lenient") == [("missing", "paid", None, "is missing")]
