"""What a data contract says of its raw table, for the data dictionary."""

from __future__ import annotations

from ecommerce_dw.contracts.model import Column, Contract
from ecommerce_dw.dictionary.markdown import code_list, table
from ecommerce_dw.dictionary.units import unit_of

HOW_VALUES_ARE_WRITTEN = (
    "How values are written: numbers as decimals (`12`, `-3.50`, `1e2`; not `0x10` or `1_000`), "
    "booleans as `true`, `t`, `yes`, `y`, `on`, `1` or `false`, `f`, `no`, `n`, `off`, `0` in any case, "
    "dates and times as ISO 8601 (`2026-01-31`, `2026-01-31 12:00:00`, with a zone where it is not the "
    "source's), never as words (`today`, `now`, `infinity`). An empty field is no value. "
    "What cannot be read as its type is rejected."
)


def facts(contract: Contract) -> list[str]:
    """What holds for the whole table, as items of a list."""
    days = contract.max_staleness_days
    return [
        f"files `{contract.layout.pattern}`"
        + (" (also `.gz`)" if "gzip" in contract.layout.compressions else ""),
        f"key {code_list(contract.primary_key)}" if contract.primary_key else "no key",
        f"versions ordered by `{contract.ordering_column}`" if contract.ordering_column else "no versions",
        "freshness not watched" if days is None else f"stale after {days} day{'' if days == 1 else 's'}",
        f"a file is refused when more than {contract.max_rejected_rows} rows and "
        f"{(contract.max_rejected_share * 100).normalize():f} % of it fail ({contract.refusal_severity})",
        f"unknown columns: {contract.extra_columns}",
        f"contract version {contract.version}",
    ]


def column_table(contract: Contract) -> list[str]:
    """The columns with their rules."""
    return table(
        ("column", "type", "unit", "rules", "personal data", "meaning"),
        [
            (
                f"`{column.name}`",
                column.type,
                unit_of(column.name, column.type) or "",
                _rules(column),
                "" if column.pii == "none" else column.pii,
                column.description,
            )
            for column in contract.columns
        ],
    )


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
        rules.append(f"one of {code_list(column.allowed_values)}")
    if column.references is not None:
        rules.append(f"refers to `{'.'.join(column.references)}`")
    return ", ".join(rules)
