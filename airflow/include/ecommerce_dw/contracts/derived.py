"""What is derived from the contracts and kept in the repository: dbt's sources, a macro, a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ecommerce_dw.contracts.model import Column, Contract
from ecommerce_dw.contracts.reader import CONFORMED_ENTITIES

Contracts = Mapping[str, Mapping[str, Contract]]

_WRITTEN_BY = "Written by `ecommerce-dw contracts sync` from the data contracts. Do not edit."
_BEGIN = f"<!-- begin raw. {_WRITTEN_BY} -->"
_END = "<!-- end raw -->"
_DICTIONARY = "# Data dictionary\n"

#: After the end of a business day its files may take this long until dbt's source freshness speaks (hours).
_GRACE_HOURS = 6

_TRAIL = {
    "_file_id": ("bigint", "File the row came from: `raw.load_ledger.file_id`."),
    "_line_number": ("bigint", "First physical line of the record in that file; the header is line 1."),
}


@dataclass(frozen=True)
class SyncResult:
    """What a synchronisation found, as paths.

    Attributes:
        current: Files that already were as they should be.
        written: Files that were missing or different.
        removed: Files of sources that are no more.
    """

    current: tuple[Path, ...]
    written: tuple[Path, ...]
    removed: tuple[Path, ...]

    @property
    def stale(self) -> tuple[Path, ...]:
        """Files that were not current."""
        return self.written + self.removed


def sync(contracts: Contracts, project_dir: Path, *, dry_run: bool = False) -> SyncResult:
    """Bring the derived files below a checkout to what the contracts say.

    With `dry_run` nothing is written; the result says what would be.
    """
    files = derived_files(contracts, project_dir)
    current = tuple(path for path, text in files.items() if _read(path) == text)
    written = tuple(path for path in files if path not in current)
    removed = tuple(
        path
        for path in sorted((project_dir / "dbt" / "models" / "staging").glob("*/_*__sources.yml"))
        if path not in files and _WRITTEN_BY in (_read(path) or "")
    )
    if not dry_run:
        for path in written:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
        for path in removed:
            path.unlink()
    return SyncResult(current, written, removed)


def derived_files(contracts: Contracts, project_dir: Path) -> dict[Path, str]:
    """Every derived file below a checkout with the text it should have."""
    dbt = project_dir / "dbt"
    dictionary = project_dir / "docs" / "data-dictionary.md"
    files = {
        dbt / "models" / "staging" / source / f"_{source}__sources.yml": _sources_yml(source, entities)
        for source, entities in contracts.items()
    }
    files[dbt / "macros" / "generated" / "sources.sql"] = _sources_macro(contracts)
    files[dictionary] = _with_raw_part(_read(dictionary) or _DICTIONARY, _raw_dictionary(contracts))
    return files


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


# ------------------------------------------------------------------------------------------------- dbt


def _sources_yml(source: str, entities: Mapping[str, Contract]) -> str:
    document = {
        "version": 2,
        "sources": [
            {
                "name": source,
                "schema": "raw",
                "description": f"Files of source system `{source}` as they arrived, one table per contract.",
                "tables": [_source_table(contract) for contract in entities.values()],
            }
        ],
    }
    body = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    return f"# {_WRITTEN_BY}\n{body}"


def _source_table(contract: Contract) -> dict[str, Any]:
    return {
        "name": contract.entity,
        "identifier": contract.table,
        "description": f"{contract.grain}. {contract.description}",
        "config": _freshness(contract),
        "columns": [_source_column(column) for column in contract.columns]
        + [
            {"name": name, "description": description, "data_type": type_}
            for name, (type_, description) in _TRAIL.items()
        ],
    }


def _freshness(contract: Contract) -> dict[str, Any]:
    """Age of the content: from the end of the greatest loaded business day until now."""
    if contract.max_staleness_days is None:
        return {"freshness": None}
    loaded_at = (
        f"select (max(business_date) + 1)::timestamp at time zone '{contract.time_zone}' "
        f"from raw.load_ledger "
        f"where source = '{contract.source}' and entity = '{contract.entity}' and status = 'loaded'"
    )
    return {
        "loaded_at_query": loaded_at,
        "freshness": {
            "warn_after": {"count": 24 + _GRACE_HOURS, "period": "hour"},
            "error_after": {"count": 24 * (contract.max_staleness_days + 1) + _GRACE_HOURS, "period": "hour"},
        },
    }


def _source_column(column: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": column.name,
        "description": column.description,
        "data_type": column.type,
    }
    if column.pii != "none":
        entry["config"] = {"meta": {"pii": column.pii}}
    return entry


def _sources_macro(contracts: Contracts) -> str:
    feeding = {
        entity: [
            source
            for source, entities in contracts.items()
            if any(entity in contract.feeds for contract in entities.values())
        ]
        for entity in CONFORMED_ENTITIES
    }
    feeding["touched"] = list(contracts)
    # An item with a key of its own can move to another order; one that is known by its values cannot.
    feeding["keyed_order_items"] = [
        source
        for source, entities in contracts.items()
        if any("order_items" in contract.feeds and contract.primary_key for contract in entities.values())
    ]
    lines = "\n".join(f"        '{entity}': {sources!r}," for entity, sources in feeding.items())
    firsts = {source: next(iter(entities.values())) for source, entities in contracts.items()}
    return (
        f"{{#- {_WRITTEN_BY} -#}}\n\n\n"
        "{#- The sources that feed a conformed entity, in alphabetical order; each has a model\n"
        "    stg_<source>__<entity>. `touched` is fed by every source; one that feeds order_items also has\n"
        "    stg_<source>__rejected_order_items. -#}\n"
        "{%- macro sources_feeding(entity) -%}\n"
        "    {%- set sources = {\n"
        f"{lines}\n"
        "    } -%}\n"
        "    {%- do return(sources[entity]) -%}\n"
        "{%- endmacro -%}\n"
        + _case_macro(
            "source_time_zone",
            "SQL: the time zone of a source system, which decides its business day.",
            {source: contract.time_zone for source, contract in firsts.items()},
        )
        + _case_macro(
            "source_currency",
            "SQL: the currency of all amounts of a source system.",
            {source: contract.currency for source, contract in firsts.items()},
        )
    )


def _case_macro(name: str, comment: str, values: Mapping[str, str]) -> str:
    """A macro that gives an SQL expression for a value per source system."""
    cases = "".join(f"        when '{source}' then '{value}'\n" for source, value in values.items())
    return (
        f"\n\n{{#- {comment} -#}}\n"
        f"{{%- macro {name}(source_system) -%}}\n"
        f"    case {{{{ source_system }}}}\n{cases}    end\n"
        "{%- endmacro -%}\n"
    )


# ------------------------------------------------------------------------------------- data dictionary


def _with_raw_part(text: str, part: str) -> str:
    """The dictionary with its raw part replaced; without the marks it is appended."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        before, after = text.rstrip("\n") + "\n\n", "\n"
    return f"{before}{_BEGIN}\n\n{part}\n{_END}{after}"


def _raw_dictionary(contracts: Contracts) -> str:
    sections = [
        "## raw: what arrived\n",
        "Beside the columns below each table has `_file_id` (the file, in `raw.load_ledger`) and "
        "`_line_number` (the record's first line in it; the header is line 1).\n",
        "How values are written: numbers as decimals (`12`, `-3.50`, `1e2`; not `0x10` or `1_000`), "
        "booleans as `true`, `t`, `yes`, `y`, `on`, `1` or `false`, `f`, `no`, `n`, `off`, `0` in any case, "
        "dates and times as ISO 8601 (`2026-01-31`, `2026-01-31 12:00:00`, with a zone where it is not the "
        "source's), never as words (`today`, `now`, `infinity`). An empty field is no value. "
        "What cannot be read as its type is rejected.\n",
    ]
    for source, entities in contracts.items():
        first = next(iter(entities.values()))
        sections.append(f"### Source `{source}`\n")
        sections.append(f"Times are local to {first.time_zone}, amounts are in {first.currency}.\n")
        sections.extend(_entity_section(contract) for contract in entities.values())
    return "\n".join(sections)


def _entity_section(contract: Contract) -> str:
    days = contract.max_staleness_days
    facts = [
        f"files `{contract.layout.pattern}`"
        + (" (also `.gz`)" if "gzip" in contract.layout.compressions else ""),
        f"key {_list(contract.primary_key)}" if contract.primary_key else "no key",
        f"versions ordered by `{contract.ordering_column}`" if contract.ordering_column else "no versions",
        "freshness not watched" if days is None else f"stale after {days} day{'' if days == 1 else 's'}",
        f"a file is refused when more than {contract.max_rejected_rows} rows and "
        f"{(contract.max_rejected_share * 100).normalize():f} % of it fail ({contract.refusal_severity})",
        f"unknown columns: {contract.extra_columns}",
        f"contract version {contract.version}",
    ]
    rows = [_column_row(column) for column in contract.columns]
    return "\n".join(
        [
            f"#### `raw.{contract.table}`\n",
            f"{contract.grain}. {contract.description}\n",
            *(f"- {fact}" for fact in facts),
            "",
            "| column | type | rules | personal data | description |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _column_row(column: Column) -> str:
    pii = "" if column.pii == "none" else column.pii
    cells = (f"`{column.name}`", column.type, _rules(column), pii, _cell(column.description))
    return f"| {' | '.join(cells)} |"


def _rules(column: Column) -> str:
    """The column's rules in words."""
    rules = []
    if column.header != column.name:
        rules.append(f"header `{column.header}`")
    if column.is_required:
        rules.append("required")
    if column.is_unique:
        rules.append("unique")
    if column.minimum is not None:
        rules.append(f"≥ {column.minimum}")
    if column.maximum is not None:
        rules.append(f"≤ {column.maximum}")
    if column.scale is not None:
        rules.append(f"at most {column.scale} decimals")
    if column.max_length is not None:
        rules.append(f"at most {column.max_length} characters")
    if column.pattern is not None:
        rules.append(f"matches `{column.pattern}`")
    if column.allowed_values:
        rules.append(f"one of {_list(column.allowed_values)}")
    if column.references is not None:
        rules.append(f"refers to `{'.'.join(column.references)}`")
    return _cell(", ".join(rules))


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
