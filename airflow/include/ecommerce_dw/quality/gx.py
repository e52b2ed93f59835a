"""Our expectations in Great Expectations' terms. The only module that imports it (about two seconds)."""

from __future__ import annotations

import datetime as dt
import decimal
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import great_expectations as gx
from great_expectations.data_context.types.base import DataContextConfig
from great_expectations.expectations.core.unexpected_rows_expectation import UnexpectedRowsExpectation

from ecommerce_dw import db
from ecommerce_dw.quality.model import EXAMPLES, Checkpoint, Expectation, ExpectationOutcome, Suite
from ecommerce_dw.settings import Settings

_OFFENDING = "offending_rows"

# It tells some hundred times how it reads its own defaults; a task's log is for what was found.
logging.getLogger("great_expectations").setLevel(logging.WARNING)


class QualityError(RuntimeError):
    """An expectation could not be evaluated (not: it failed). The message says which and why."""


class ExpectNoOffendingRows(UnexpectedRowsExpectation):  # type: ignore[misc]
    """A query that has to come back empty, run once.

    Great Expectations' own runs the query twice, for the rows and for their number; here the query brings its
    number along as a column, which halves the time of a checkpoint.
    """

    metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.table",)

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: Any = None,
    ) -> dict[str, Any]:
        rows = [dict(row) for row in metrics["unexpected_rows_query.table"]]
        count = int(rows[0][_OFFENDING]) if rows else 0
        examples = [{key: value for key, value in row.items() if key != _OFFENDING} for row in rows]
        return {
            "success": count == 0,
            "result": {
                "observed_value": f"{count:,} rows",
                "unexpected_count": count,
                "details": {"unexpected_rows": examples},
            },
        }


def context(results_dir: Path | None = None, site_dir: Path | None = None, title: str = "") -> Any:
    """An ephemeral context; with folders, results are kept in and Data Docs made from files."""

    def store(class_name: str, folder: str) -> dict[str, Any]:
        backend: dict[str, Any] = {"class_name": "InMemoryStoreBackend"}
        if results_dir is not None and folder:
            backend = {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(results_dir / folder),
                "suppress_store_backend_id": True,
            }
        return {"class_name": class_name, "store_backend": backend}

    sites = {}
    if site_dir is not None:
        sites["run"] = {
            "class_name": "SiteBuilder",
            "site_name": title,
            "show_how_to_buttons": False,
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(site_dir),
            },
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        }
    result = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            analytics_enabled=False,
            expectations_store_name="expectations",
            validation_results_store_name="results",
            checkpoint_store_name="checkpoints",
            stores={
                "expectations": store("ExpectationsStore", "expectations"),
                "results": store("ValidationResultsStore", "results"),
                "checkpoints": store("CheckpointStore", ""),
                "validation_definition_store": store("ValidationDefinitionStore", ""),
            },
            data_docs_sites=sites,
        ),
    )
    # Bars per metric would fill the task's log.
    result.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return result


def run(
    settings: Settings, checkpoint: Checkpoint, suites: Sequence[Suite], run_id: str, results_dir: Path | None
) -> tuple[ExpectationOutcome, ...]:
    """Validate suites with one context over one connection (role transformer).

    Raises:
        QualityError: An expectation could not be evaluated, e.g. because a table is missing.
    """
    ctx = context(results_dir)
    source = ctx.data_sources.add_postgres(
        "warehouse",
        connection_string=db.sqlalchemy_url("transformer", settings=settings).render_as_string(
            hide_password=False
        ),
        # One connection, reused: a connection per expectation costs more than most of the queries.
        kwargs={
            "pool_size": 1,
            "max_overflow": 0,
            "connect_args": {
                "application_name": f"ecommerce-dw: validate {checkpoint} (run {run_id})"[:63],
                "options": "-c timezone=UTC -c default_transaction_read_only=on "
                f"-c lock_timeout={settings.lock_timeout}",
                **settings.network_waits,
            },
        },
    )
    definitions = []
    for suite in suites:
        batch = source.add_query_asset(suite.object, query=suite.batch).add_batch_definition_whole_table(
            "touched"
        )
        expectations = [_translate(expectation, suite) for expectation in suite.expectations]

        gx_suite = ctx.suites.add_or_update(
            gx.ExpectationSuite(name=f"{checkpoint}.{suite.object}", expectations=expectations)
        )
        definitions.append(
            ctx.validation_definitions.add(
                gx.ValidationDefinition(name=f"{checkpoint}.{suite.object}", data=batch, suite=gx_suite)
            )
        )
    try:
        outcome = ctx.checkpoints.add(
            gx.Checkpoint(
                name=checkpoint,
                validation_definitions=definitions,
                result_format={"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES},
            )
        ).run(run_id=gx.RunIdentifier(run_name=_as_file_name(run_id)))
    finally:
        source.get_execution_engine().close()
        source.get_execution_engine().engine.dispose()
    by_name = {
        expectation.name: (expectation, suite) for suite in suites for expectation in suite.expectations
    }
    found: dict[str, ExpectationOutcome] = {}
    errors: list[str] = []
    for validation in outcome.run_results.values():
        for result in validation.results:
            name = str(result.expectation_config.meta["name"])
            if message := _exception(result.exception_info):
                errors.append(f"{name}: {message}")
            else:
                found[name] = _outcome(*by_name[name], checkpoint, result)
    if errors:
        raise QualityError(
            f"Checkpoint {checkpoint} could not be evaluated; nothing after it ran. "
            + " | ".join(sorted(errors))
            + " Check that the layer was built (`ecommerce-dw build`) and that the suites match its columns."
        )
    return tuple(found[name] for name in by_name)  # in the order they were written


def _translate(expectation: Expectation, suite: Suite) -> Any:
    arguments = expectation.arguments
    common = {
        "severity": expectation.severity,
        "description": f"{expectation.name}. {expectation.meaning}",
        "meta": {"name": expectation.name, "object": suite.object, "remedy": expectation.remedy},
    }
    match expectation.kind:
        case "no_rows":
            # `from {batch}` without an alias of its own: Great Expectations adds one or not, by whether the
            # word join occurs in the query; PostgreSQL needs none.
            query = (
                "with batch as (select * from {batch}), offending as ("
                + arguments["sql"].strip().replace("{", "{{").replace("}", "}}")
                + f") select *, count(*) over () as {_OFFENDING} from offending limit {EXAMPLES}"
            )
            return ExpectNoOffendingRows(unexpected_rows_query=query, **common)
        case "unique":
            return gx.expectations.ExpectColumnValuesToBeUnique(column=arguments["column"], **common)
        case "compound_unique":
            return gx.expectations.ExpectCompoundColumnsToBeUnique(
                column_list=list(arguments["columns"]), **common
            )
        case "not_null":
            return gx.expectations.ExpectColumnValuesToNotBeNull(column=arguments["column"], **common)
        case "in_set":
            return gx.expectations.ExpectColumnValuesToBeInSet(
                column=arguments["column"], value_set=list(arguments["values"]), **common
            )
        case "between":
            return gx.expectations.ExpectColumnValuesToBeBetween(
                column=arguments["column"],
                min_value=arguments["minimum"],
                max_value=arguments["maximum"],
                **common,
            )


def _outcome(
    expectation: Expectation, suite: Suite, checkpoint: Checkpoint, result: Any
) -> ExpectationOutcome:
    details = result.result
    if expectation.kind == "no_rows":
        examples = details["details"]["unexpected_rows"]
    else:
        examples = [
            value if isinstance(value, Mapping) else {expectation.arguments.get("column", "value"): value}
            for value in details.get("partial_unexpected_list", [])[:EXAMPLES]
        ]
    return ExpectationOutcome(
        name=expectation.name,
        severity=expectation.severity,
        meaning=expectation.meaning,
        remedy=expectation.remedy,
        suite=f"{checkpoint}.{suite.object}",
        object=suite.object,
        expectation_type=str(result.expectation_config.type),
        is_success=bool(result.success),
        is_accepted=False,
        unexpected_count=int(details.get("unexpected_count") or 0),
        examples=tuple({key: _plain(value) for key, value in row.items()} for row in examples),
    )


def _plain(value: object) -> object:
    """A value as JSON has it; money exactly, as text."""
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | list | None) else str(value)


def _exception(info: Any) -> str | None:
    """The first exception's message in Great Expectations' record of them, flat or one per metric."""
    for record in _records(info):
        if record.get("raised_exception"):
            # SQLAlchemy appends the whole statement and a link; the Data Docs have the statement.
            message = str(record.get("exception_message")).split("[SQL:")[0]
            return " ".join(message.split())
    return None


def _records(info: Any) -> Iterator[Mapping[str, Any]]:
    if not isinstance(info, Mapping):
        return
    if "raised_exception" in info:
        yield info
    for value in info.values():
        yield from _records(value)


def _as_file_name(run_id: str) -> str:
    return "".join(character if character.isalnum() or character in "._-" else "-" for character in run_id)
