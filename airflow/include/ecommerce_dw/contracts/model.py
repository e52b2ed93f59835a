"""What a data contract says, as immutable values. `reader` makes them from the YAML files."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

#: Type of a raw column, in PostgreSQL's words.
ColumnType = Literal["text", "integer", "bigint", "numeric", "boolean", "date", "timestamptz"]
Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class Column:
    """One column of an entity.

    Attributes:
        name: Its name in the raw table.
        header: Its name in the file's header.
        type: PostgreSQL type of the raw column; `numeric` is plain, its scale is a rule.
        is_required: An empty field is a reason for rejection.
        is_unique: Whether a value may appear once in a file.
        minimum, maximum: Bounds, inclusive, for numbers.
        scale: Greatest number of decimals, for numeric.
        max_length: Greatest number of characters, for text.
        pattern: Regular expression (PostgreSQL's) the whole value matches.
        allowed_values: The values a text may have; empty means any.
        references: `(entity, column)` of the same source, checked in dbt, not at load.
        pii: Class of personal data (`none`, `indirect`, `direct`).
        description: For people.
        format: How dates and timestamps are written, `yyyy-MM-dd` or `yyyy-MM-dd HH:mm:ss`; None for others.
    """

    name: str
    header: str
    type: ColumnType
    is_required: bool
    is_unique: bool
    minimum: Decimal | None
    maximum: Decimal | None
    scale: int | None
    max_length: int | None
    pattern: str | None
    allowed_values: tuple[str, ...]
    references: tuple[str, str] | None
    pii: str
    description: str
    format: str | None = None


@dataclass(frozen=True)
class FileLayout:
    """How the files of an entity look.

    Attributes:
        pattern: Path below the source's landing zone, with `{date}` for the business date
            (YYYY-MM-DD) and `{part}` for an optional part, e.g. `orders/dt={date}/orders{part}.csv`; or with
            `{name}` for any name, which need not hold a date.
        delimiter: One character.
        quote: One character.
        encoding: `utf-8`, with or without a byte order mark.
        compressions: What the files may be packed with: `none`, `gzip` (then `.gz` is appended to the name).
    """

    pattern: str
    delimiter: str
    quote: str
    encoding: str
    compressions: tuple[str, ...] = ("none", "gzip")


@dataclass(frozen=True)
class Contract:
    """The contract of one entity of one source.

    Attributes:
        source, entity: Whose files; the raw table is `raw.<source>__<entity>`.
        version: The contract's own version.
        hash: Digest of the parts that decide about rows; a refused file is tried again when it changes.
        primary_key: Columns that identify a row; the last line of equal keys in a file stays. May be empty.
        touch_keys: Columns whose values are kept when rows are removed or rejected, so that models know
            what to recompute. The primary key where the contract does not say otherwise.
        ordering_column: Column that orders the versions of a key, or None.
        time_zone: IANA name; timestamps in the files are local to it and it decides the business day.
        currency: ISO 4217 code of all amounts.
        currency_column: Column that must hold this code, or None.
        max_staleness_days: Days after which the source is stale, or None where freshness is not watched.
        max_rejected_rows, max_rejected_share: A file with more rejected rows (both exceeded) is refused.
        refusal_severity: What a refused file does at the raw checkpoint.
        extra_columns: What an unknown column in a header does.
        feeds: Conformed entities the source's staging models give (`customers`, `orders` …).
        grain: What one row of a file is, "One row per …".
        date_column: Column whose greatest value is the business date of a file without a date in its name;
            None where every name has one.
    """

    source: str
    entity: str
    version: str
    hash: str
    description: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    touch_keys: tuple[str, ...]
    ordering_column: str | None
    layout: FileLayout
    time_zone: str
    currency: str
    currency_column: str | None
    max_staleness_days: int | None
    max_rejected_rows: int
    max_rejected_share: Decimal
    refusal_severity: Severity
    extra_columns: Literal["ignore", "refuse"]
    feeds: tuple[str, ...]
    grain: str = ""
    date_column: str | None = None

    @property
    def table(self) -> str:
        """Name of the raw table, without its schema."""
        return f"{self.source}__{self.entity}"

    def column(self, name: str) -> Column:
        """The column of this name. Raises KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)
