"""The pages of the data dictionary: an overview, and one page per layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.dictionary import entities
from ecommerce_dw.dictionary.manifest import ColumnEntry, TableEntry, read_tables
from ecommerce_dw.dictionary.markdown import code_list, table
from ecommerce_dw.dictionary.units import unit_of

WRITTEN_BY = "Written by `ecommerce-dw dictionary` from the data contracts and dbt. Do not edit."

Contracts = Mapping[str, Mapping[str, Contract]]


@dataclass(frozen=True)
class _Layer:
    """A page: a schema, and what stands above its tables."""

    schema: str
    title: str
    about: str


_LAYERS = (
    _Layer(
        "raw",
        "what arrived",
        "One table per data contract, rows as they were delivered, and the loader's own tables. "
        "Rows carry the file they came with.",
    ),
    _Layer(
        "staging",
        "cleaned",
        "Views over raw: renamed, trimmed, all versions kept; `stg_<entity>` unites the shops. Times are in "
        "UTC. And the seeds: bounds and code lists that are kept with the code.",
    ),
    _Layer(
        "intermediate",
        "steps in between",
        "Versions resolved and compact daily states on which the marts build. Not for readers.",
    ),
    _Layer(
        "warehouse",
        "the star schema",
        "Dimensions with their history and facts, kept current by touched keys.",
    ),
    _Layer(
        "marts",
        "answers",
        "The published tables. dbt builds them in `marts_build`; `publish` brings `marts` to the same "
        "content, in one transaction, after the last checkpoint.",
    ),
    _Layer(
        "ops",
        "what the platform did",
        "Runs, loads, dbt nodes, expectations, incidents, alerts, publications: every outcome is a row.",
    ),
)


class IncompleteError(ValueError):
    """Tables or columns of which the dictionary would lack something; the message names each."""


def pages(contracts: Contracts, manifest: Mapping[str, Any], docs_dir: Path) -> dict[Path, str]:
    """Every page below a folder of documents with the text it should have.

    Args:
        contracts: Source → entity → contract.
        manifest: dbt's `manifest.json` of the project.
        docs_dir: Where `data-dictionary.md` and the folder `data-dictionary` are.

    Raises:
        IncompleteError: Something has no description, type, grain or unit, or its schema has no page.
    """
    tables = read_tables(manifest)
    by_name = {
        contract.table: contract for entities_ in contracts.values() for contract in entities_.values()
    }
    _check(tables)
    files = {docs_dir / "data-dictionary.md": _overview(tables)}
    for layer in _LAYERS:
        files[docs_dir / "data-dictionary" / f"{layer.schema}.md"] = _page(
            layer, [entry for entry in tables if entry.schema == layer.schema], by_name, tables
        )
    return files


def _check(tables: tuple[TableEntry, ...]) -> None:
    problems = []
    for entry in tables:
        if entry.schema not in {layer.schema for layer in _LAYERS}:
            problems.append(f"{entry.full_name}: schema {entry.schema} has no page (dictionary/pages.py).")
        if not entry.description.startswith("One row"):
            problems.append(
                f"{entry.full_name}: the description does not begin with the grain (One row per …)."
            )
        if not entry.columns:
            problems.append(f"{entry.full_name}: no column is described in its yml.")
        for column in entry.columns:
            lacking = [name for name in ("description", "type") if not getattr(column, name)]
            if unit_of(column.name, column.type, column.unit) is None:
                lacking.append("unit (a name by the convention, or `meta: {unit: …}`)")
            if lacking:
                problems.append(f"{entry.full_name}.{column.name}: no {' and no '.join(lacking)}.")
    if problems:
        raise IncompleteError("\n".join(problems))


def _overview(tables: tuple[TableEntry, ...]) -> str:
    lines = [
        "# Data dictionary",
        "",
        f"<!-- {WRITTEN_BY} -->",
        "",
        "What each table holds, from the landed file to the published mart: a row's grain, the columns with "
        "type, unit and meaning, where the rows come from, who reads them, what is tested.",
        "",
        "Names say the unit: `_at` is a time in UTC, `_date` a day; `_amount`, `_price`, `_cost` are money, "
        "in the row's `currency` or else the source's, never rounded; `_share` and `_rate` lie between 0 and "
        "1; `_count` counts; `is_` and `has_` are booleans; `_id` is a business key, `_key` a surrogate key. "
        "`source_system` is the shop; it is part of every key from staging on.",
    ]
    for layer in _LAYERS:
        entries = [entry for entry in tables if entry.schema == layer.schema]
        lines += [
            "",
            f"## [{layer.schema}](data-dictionary/{layer.schema}.md): {layer.title}",
            "",
            layer.about,
            "",
            *table(
                ("table", "grain"),
                [
                    (
                        f"[`{entry.name}`](data-dictionary/{layer.schema}.md#{_anchor(entry.full_name)})",
                        _grain(entry),
                    )
                    for entry in entries
                ],
            ),
        ]
    return "\n".join(lines) + "\n"


def _grain(entry: TableEntry) -> str:
    sentence, stop, _ = entry.description.partition(". ")
    return sentence + (stop.strip() or "")


def _page(
    layer: _Layer,
    entries: list[TableEntry],
    contracts: Mapping[str, Contract],
    tables: tuple[TableEntry, ...],
) -> str:
    known = {entry.full_name for entry in tables}
    lines = [
        f"# {layer.schema}: {layer.title}",
        "",
        f"<!-- {WRITTEN_BY} -->",
        "",
        layer.about,
        "",
        "[All layers](../data-dictionary.md)",
    ]
    if layer.schema == "raw":
        lines += ["", entities.HOW_VALUES_ARE_WRITTEN]
    for entry in entries:
        lines += ["", f"## `{entry.full_name}`", "", entry.description, ""]
        contract = contracts.get(entry.name) if layer.schema == "raw" else None
        lines += [f"- {fact}" for fact in _facts(entry, contract, known)]
        lines += ["", *(entities.column_table(contract) if contract else _column_table(entry))]
        if contract:
            lines += [
                "",
                "And `_file_id`, `_line_number`: the file (in `raw.load_ledger`) and the line in it.",
            ]
    return "\n".join(lines) + "\n"


def _facts(entry: TableEntry, contract: Contract | None, known: set[str]) -> list[str]:
    facts = []
    if contract:
        facts.append(
            f"source `{contract.source}`: times local to {contract.time_zone}, amounts in {contract.currency}"
        )
        facts += entities.facts(contract)
    else:
        facts.append(entry.kind)
    if entry.parents:
        facts.append(f"from {_links(entry.parents, known)}")
    if entry.children:
        facts.append(f"read by {_links(entry.children, known)}")
    if entry.exposures:
        facts.append(f"used by: {', '.join(entry.exposures)}")
    if entry.tests:
        facts.append(f"tested: {'; '.join(entry.tests)}")
    return facts


def _column_table(entry: TableEntry) -> list[str]:
    return table(
        ("column", "type", "unit", "meaning", "tests"),
        [
            (
                f"`{column.name}`",
                column.type,
                unit_of(column.name, column.type, column.unit) or "",
                _meaning(column),
                ", ".join(column.tests),
            )
            for column in entry.columns
        ],
    )


def _meaning(column: ColumnEntry) -> str:
    return column.description + (f" Personal data ({column.pii})." if column.pii else "")


def _links(names: tuple[str, ...], known: set[str]) -> str:
    return ", ".join(
        f"[`{name}`]({name.split('.')[0]}.md#{_anchor(name)})" if name in known else code_list([name])
        for name in names
    )


def _anchor(full_name: str) -> str:
    """The anchor that Markdown viewers give a heading that is this name as code."""
    return full_name.replace(".", "")
