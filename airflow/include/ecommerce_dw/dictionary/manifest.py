"""What dbt's manifest says of a table: grain, columns, where it comes from, what reads it, its tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ecommerce_dw.dictionary.markdown import code_list, one_line

#: Schema in which dbt builds → schema in which people read.
_PUBLISHED = {"marts_build": "marts"}


@dataclass(frozen=True)
class ColumnEntry:
    """A column.

    Attributes:
        name, type, description: Its own.
        unit: What its yml says of it; None leaves it to the name.
        pii: Class of personal data, or empty.
        tests: What is tested of it, in words.
    """

    name: str
    type: str
    description: str
    unit: str | None = None
    pii: str = ""
    tests: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableEntry:
    """A table or view.

    Attributes:
        schema, name: Where people find it.
        kind: `incremental table`, `table`, `view`, `seed` or `table of the platform`.
        description: Begins with the grain.
        columns: In their order.
        parents, children: Names with schema of what it reads and what reads it.
        tests: What is tested of the whole table: keys, and rules named by a sentence.
        exposures: Who uses it outside of dbt.
    """

    schema: str
    name: str
    kind: str
    description: str
    columns: tuple[ColumnEntry, ...]
    parents: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    exposures: tuple[str, ...] = field(default=())

    @property
    def full_name(self) -> str:
        """`schema.name`."""
        return f"{self.schema}.{self.name}"


def read_tables(manifest: Mapping[str, Any]) -> tuple[TableEntry, ...]:
    """Every model, seed and source of a manifest (dbt's `manifest.json`), by schema and name."""
    nodes: dict[str, Any] = {
        unique_id: node
        for unique_id, node in (*manifest["nodes"].items(), *manifest["sources"].items())
        if node["resource_type"] in ("model", "seed", "source")
    }
    names = {unique_id: _full_name(node) for unique_id, node in nodes.items()}
    tests = [node for node in manifest["nodes"].values() if node["resource_type"] == "test"]
    entries = [
        TableEntry(
            schema=names[unique_id].split(".")[0],
            name=names[unique_id].split(".")[1],
            kind=_kind(node),
            description=one_line(node["description"]),
            columns=tuple(_columns(unique_id, node, tests)),
            parents=_named(node.get("depends_on", {}).get("nodes", ()), names),
            children=_named(manifest["child_map"].get(unique_id, ()), names),
            tests=tuple(dict.fromkeys(_table_tests(unique_id, tests))),
            exposures=tuple(
                sorted(
                    exposure["label"] or exposure["name"]
                    for exposure in manifest["exposures"].values()
                    if unique_id in exposure["depends_on"]["nodes"]
                )
            ),
        )
        for unique_id, node in nodes.items()
    ]
    return tuple(sorted(entries, key=lambda entry: entry.full_name))


def _full_name(node: Mapping[str, Any]) -> str:
    name = node["identifier"] if node["resource_type"] == "source" else node.get("alias") or node["name"]
    return f"{_PUBLISHED.get(node['schema'], node['schema'])}.{name}"


def _named(unique_ids: Any, names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({names[unique_id] for unique_id in unique_ids if unique_id in names}))


def _kind(node: Mapping[str, Any]) -> str:
    if node["resource_type"] != "model":
        return "seed" if node["resource_type"] == "seed" else "table of the platform"
    materialized = str(node["config"]["materialized"])
    return "incremental table" if materialized == "incremental" else materialized


def _columns(unique_id: str, node: Mapping[str, Any], tests: list[Any]) -> Iterator[ColumnEntry]:
    for column in node["columns"].values():
        meta = {**(column.get("meta") or {}), **((column.get("config") or {}).get("meta") or {})}
        told = [_column_test(test) for test in tests if _is_about(test, unique_id, column["name"])]
        if any(rule["type"] == "not_null" for rule in column.get("constraints") or ()) or any(
            _holds_no_null(test, unique_id, column["name"]) for test in tests
        ):
            told.append("not null")
        yield ColumnEntry(
            name=column["name"],
            type=column.get("data_type") or "",
            description=one_line(column["description"]),
            unit=meta.get("unit"),
            pii=meta.get("pii", ""),
            tests=tuple(sorted(set(told))),
        )


def _is_about(test: Mapping[str, Any], unique_id: str, column: str) -> bool:
    return test.get("attached_node") == unique_id and test.get("column_name") == column


def _holds_no_null(test: Mapping[str, Any], unique_id: str, column: str) -> bool:
    """Whether a test of the whole table says that a column is never null."""
    metadata = test.get("test_metadata")
    return (
        metadata is not None
        and test.get("attached_node") == unique_id
        and metadata["name"] in ("primary_key", "not_null_columns")
        and column in metadata["kwargs"]["columns"]
    )


def _column_test(test: Mapping[str, Any]) -> str:
    metadata = test["test_metadata"]
    name, arguments = metadata["name"], metadata["kwargs"]
    if name == "accepted_values":
        return f"one of {code_list(map(str, arguments['values']))}"
    if name == "relationships":
        return f"refers to `{_referred(arguments)}.{arguments['field']}`"
    return str(name).replace("_", " ")


def _referred(arguments: Mapping[str, Any]) -> str:
    """Name of the model that a test's argument `to` refers to."""
    return str(arguments["to"]).removeprefix("ref('").removesuffix("')")


def _table_tests(unique_id: str, tests: list[Any]) -> Iterator[str]:
    for test in sorted(tests, key=lambda test: str(test["name"])):
        metadata = test.get("test_metadata")
        if metadata is None:
            # a test of its own, whose file's name is the rule as a sentence
            if unique_id in test["depends_on"]["nodes"]:
                yield str(test["name"]).replace("_", " ")
        elif test.get("attached_node") == unique_id and not test.get("column_name"):
            if metadata["name"] == "not_null_columns":
                continue
            if metadata["name"] == "refers_to":
                arguments = metadata["kwargs"]
                yield f"refers to `{_referred(arguments)}` by {code_list(arguments['columns'])}"
            elif metadata["name"] in ("primary_key", "unique_combination"):
                yield f"key {code_list(metadata['kwargs']['columns'])}"
            else:
                yield str(metadata["name"]).replace("_", " ")
