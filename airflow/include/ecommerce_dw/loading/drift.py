"""What a file says that its contract does not: columns that are new, gone, renamed or of another type, and
values that are not allowed yet; and the next version of the contract that would take it.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from ecommerce_dw.contracts import evolution
from ecommerce_dw.contracts.model import Column, ColumnType, Contract
from ecommerce_dw.loading.discover import match_path
from ecommerce_dw.loading.landing import LocalFile
from ecommerce_dw.loading.printable import listed, printable
from ecommerce_dw.loading.stream import (
    FileReader,
    read_names,
    records,
    renamed,
    split_fields,
)

#: Rows of a file that are looked at, unless somebody asks for another number.
SAMPLE_ROWS = 10_000
#: Bytes of them at most.
_SAMPLE_BYTES = 32 << 20
#: So many new values at most are proposed as allowed ones; more are no list any more.
_MOST_NEW_VALUES = 20

Kind = Literal["new", "missing", "renamed", "retyped", "values"]

_LOGICAL_TYPES: Mapping[ColumnType, str] = {
    "text": "string",
    "integer": "integer",
    "bigint": "integer",
    "numeric": "number",
    "boolean": "boolean",
    "date": "date",
    "timestamptz": "timestamp",
}


class UnlikeAnyContractError(ValueError):
    """No contract is like the file; the message says what to do."""


@dataclass(frozen=True)
class Difference:
    """One difference between a file and its contract.

    Attributes:
        kind: `new`, `missing`, `renamed` or `retyped` column, or `values` that are not allowed.
        column: The raw column; of a new one the name it would get.
        what: For people, with the header's names.
    """

    kind: Kind
    column: str
    what: str


@dataclass(frozen=True)
class Drift:
    """A file compared with a contract.

    Attributes:
        contract: The present one.
        rows: Rows that were looked at.
        differences: None where the file is what the contract says.
        proposed: The contract that would take the file, under the version number it needs; the present one
            where nothing has to change.
        changes: What changes from one to the other, with the step each asks for.
    """

    contract: Contract
    rows: int
    differences: tuple[Difference, ...]
    proposed: Contract
    changes: tuple[evolution.Change, ...]


def find_contract(file: Path, contracts: Sequence[Contract]) -> Contract:
    """The contract whose file this is: by its path, else the one that shares most columns with its header.

    Args:
        contracts: Those to choose from.

    Raises:
        UnlikeAnyContractError: None shares a column with it.
        ecommerce_dw.loading.stream.RefusedFileError: It has no header.
        ecommerce_dw.loading.landing.UnreadableFileError: It cannot be read.
    """
    parts = file.absolute().parts
    for start in range(len(parts) - 1):  # the longest ending first; a name alone says too little
        found = match_path("/".join(parts[start:]), contracts)
        if found:
            return found[0]
    shared: dict[int, int] = {}
    for number, contract in enumerate(contracts):
        names = set(_sample(file, contract, 0)[0])
        headers = {column.header for column in contract.columns}
        if common := len(names & headers):
            shared[number] = 1000 * common // len(names | headers)
    if not shared:
        raise UnlikeAnyContractError(
            f"No contract has a column of {printable(str(file))}. Name it by --source and --entity."
        )
    return contracts[max(shared, key=lambda number: shared[number])]


def compare_file(file: Path, contract: Contract, *, rows: int = SAMPLE_ROWS) -> Drift:
    """Compare a file's header and its first rows with a contract.

    Args:
        rows: How many.

    Raises:
        ecommerce_dw.loading.stream.RefusedFileError: It has no header.
        ecommerce_dw.loading.landing.UnreadableFileError: It cannot be read.
    """
    names, sample = _sample(file, contract, rows)
    values = {
        name: [value for record in sample if (value := record[number].strip())]
        for number, name in enumerate(names)
    }
    known = {column.header: column for column in contract.columns}
    missing = [column for column in contract.columns if column.header not in values]
    extra = [name for name in dict.fromkeys(names) if name not in known]
    new_names = _renamed(missing, extra, names, values, contract)
    differences: list[Difference] = []
    columns: list[Column] = []
    for column in contract.columns:
        if column.header in values:
            now, found = _compared(column, values[column.header], contract)
        elif column.name in new_names:
            header = new_names[column.name]
            now, found = _compared(column, values[header], contract)
            now = replace(now, header=header)
            told = f"{listed([column.header])} is probably called {listed([header])} now"
            found.insert(0, Difference("renamed", column.name, told))
        else:
            now, found = _missing(column, contract)
        columns.append(now)
        differences += found
    taken = {column.name for column in columns}
    for name in extra:
        if name in new_names.values() or not name:
            continue
        column = _new_column(name, values[name], taken)
        taken.add(column.name)
        columns.append(column)
        told = f"{listed([name])} is new; {_counted(values[name])} looked at, of type {column.type}"
        differences.append(Difference("new", column.name, told))
    proposed = replace(contract, columns=tuple(columns))
    before = evolution.content(contract)
    changes = evolution.compare(before, evolution.content(proposed))
    proposed = replace(proposed, version=evolution.required_version(contract.version, changes))
    return Drift(contract, len(sample), tuple(differences), proposed, changes)


def proposed_yaml(drift: Drift, file: Path) -> str:
    """The file of the proposed contract, made from that of the present one.

    Args:
        file: The present contract's file.
    """
    document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    document["version"] = drift.proposed.version
    (entity,) = document["schema"]
    properties = {entry["name"]: entry for entry in entity["properties"]}
    before = {column.name: column for column in drift.contract.columns}
    for column in drift.proposed.columns:
        if column.name not in before:
            properties[column.name] = _new_property(column)
        elif column != before[column.name]:
            _change_property(properties[column.name], before[column.name], column)
    entity["properties"] = list(properties.values())
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


# the file ---------------------------------------------------------------------------------------------------


def _sample(file: Path, contract: Contract, rows: int) -> tuple[tuple[str, ...], list[list[str]]]:
    """The names in a file's header, and the fields of its first rows that have as many."""
    delimiter, quote = contract.layout.delimiter.encode(), contract.layout.quote.encode()
    reader = FileReader(LocalFile(file), is_gzip=file.name.endswith(".gz"))
    try:
        data, is_whole, pieces = reader.start()
        found = read_names(data, contract, is_whole_file=is_whole)
        data = data[found.length :]
        while not is_whole and data.count(b"\n") <= rows and len(data) < _SAMPLE_BYTES:
            piece = next(pieces, b"")
            is_whole = not piece
            data += piece
    finally:
        reader.close()
    if not is_whole:
        data = data[: data.rfind(b"\n") + 1]  # the last line is not all there
    sample: list[list[str]] = []
    for _, record in itertools.islice(records(data, found.first_line, quote, lambda _: True), 2 * rows):
        fields = split_fields(record, delimiter, quote)
        if len(fields) == len(found.names) and record.strip() and len(sample) < rows:
            sample.append([field.decode("utf-8", "backslashreplace") for field in fields])
    return found.names, sample


# the columns ------------------------------------------------------------------------------------------------


def _renamed(
    missing: Sequence[Column],
    extra: Sequence[str],
    names: Sequence[str],
    values: Mapping[str, Sequence[str]],
    contract: Contract,
) -> dict[str, str]:
    """Columns that have another name now: spelled alike, or with the old one's values or in its place."""
    by_header = {column.header: column for column in missing}
    found = {
        by_header[old].name: new
        for old, new in renamed(list(by_header), extra).items()
        if _fit(values[new], by_header[old].type)
    }
    order = [column.header for column in contract.columns]
    for column in missing:
        for name in extra:
            if column.name in found or name in found.values() or not values[name]:
                continue
            allowed = set(column.allowed_values)
            has_its_values = bool(allowed) and allowed >= set(values[name])
            place = names.index(name)
            has_its_place = (
                order.index(column.header) == place
                and len(names) == len(order)
                and not allowed
                and _fit(values[name], column.type)
            )
            if has_its_values or has_its_place:
                found[column.name] = name
    return found


def _missing(column: Column, contract: Contract) -> tuple[Column, list[Difference]]:
    held = (contract.date_column, contract.ordering_column, contract.currency_column)
    is_held = column.name in (*contract.primary_key, *held)
    if is_held and column.is_required:
        what = "is missing, and the contract stands on it: no file loads without"
    elif column.is_required:
        what = "is missing, and required: the file is refused"
    else:
        what = "is missing: it is null in the rows of this file"
    told = Difference("missing", column.name, f"{listed([column.header])} {what}")
    return (column if is_held else replace(column, is_required=False)), [told]


def _compared(column: Column, values: Sequence[str], contract: Contract) -> tuple[Column, list[Difference]]:
    """The column as the values have it, and what is different."""
    shown = listed([column.header])
    unfit = [value for value in values if not _fits(value, column.type)]
    if len(unfit) > contract.max_rejected_share * len(values):
        # `1` and `0` are booleans too; only what is not can tell the new type.
        now = _type_of(values)
        told = (
            f"{shown} is {now} instead of {column.type}: {len(unfit):,} of {_counted(values)} no "
            f"{column.type}, such as {listed([unfit[0]])}"
        )
        if column.name in (contract.date_column, contract.ordering_column, contract.currency_column):
            told += "; the contract stands on it and cannot take it so"
            return column, [Difference("retyped", column.name, told)]
        return _retyped(column, now), [Difference("retyped", column.name, told)]
    found: list[Difference] = []
    if unfit:
        told = (
            f"{shown}: {len(unfit):,} of {_counted(values)} no {column.type}, such as "
            f"{listed([unfit[0]])}; these rows are rejected"
        )
        found.append(Difference("values", column.name, told))
    if column.allowed_values:
        unknown = Counter(value for value in values if value not in column.allowed_values)
        if unknown:
            told = f"{shown} has {_counted(unknown)} not allowed: " + ", ".join(
                f"{listed([value])} ({count:,})" for value, count in unknown.most_common(_MOST_NEW_VALUES)
            )
            found.append(Difference("values", column.name, told))
        if 0 < len(unknown) <= _MOST_NEW_VALUES:
            column = replace(column, allowed_values=(*column.allowed_values, *sorted(unknown)))
    return column, found


def _counted(values: Collection[str]) -> str:
    return f"{len(values):,} value" + ("" if len(values) == 1 else "s")


def _retyped(column: Column, type_: ColumnType) -> Column:
    """The column with another type, and those of its rules that it can still have."""
    is_number, is_text = type_ in ("integer", "bigint", "numeric"), type_ == "text"
    return replace(
        column,
        type=type_,
        minimum=column.minimum if is_number else None,
        maximum=column.maximum if is_number else None,
        scale=column.scale if type_ == "numeric" else None,
        max_length=column.max_length if is_text else None,
        pattern=column.pattern if is_text else None,
        allowed_values=column.allowed_values if is_text else (),
    )


def _new_column(header: str, values: Sequence[str], taken: set[str]) -> Column:
    name = re.sub(r"[^a-z0-9]+", "_", header.casefold()).strip("_") or "column"
    if not name[0].isalpha():
        name = f"column_{name}"
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    while name in taken:
        name = next(numbered)
    return Column(
        name=name,
        header=header,
        type=_type_of(values),
        is_required=False,
        is_unique=False,
        minimum=None,
        maximum=None,
        scale=None,
        max_length=None,
        pattern=None,
        allowed_values=(),
        references=None,
        pii="none",
        description="Say what it means.",
    )


# types ------------------------------------------------------------------------------------------------------

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([01][0-9]|2[0-4]):[0-5][0-9](:[0-6][0-9](\.[0-9]+)?)?"
    r" ?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
)
_WORDS = frozenset({"true", "false", "t", "f", "yes", "no", "y", "n", "on", "off"})


def _is_integer(value: str, bits: int) -> bool:
    return bool(_INTEGER.fullmatch(value)) and -(2 ** (bits - 1)) <= int(value) < 2 ** (bits - 1)


def _is_day(found: re.Match[str] | None) -> bool:
    try:
        return found is not None and bool(dt.date(*(int(found[n]) for n in (1, 2, 3))))
    except ValueError:
        return False


#: Type → whether a text is a value of it, as the files write it; from the narrowest to the widest.
_TESTS: Mapping[ColumnType, Callable[[str], bool]] = {
    "boolean": lambda value: value.casefold() in _WORDS,
    "integer": lambda value: _is_integer(value, 32),
    "bigint": lambda value: _is_integer(value, 64),
    "numeric": lambda value: bool(_NUMBER.fullmatch(value)),
    "date": lambda value: _is_day(_DATE.fullmatch(value)),
    "timestamptz": lambda value: _is_day(_TIME.fullmatch(value)) or _is_day(_DATE.fullmatch(value)),
    "text": lambda value: True,
}


def _fits(value: str, type_: ColumnType) -> bool:
    return _TESTS[type_](value) or (type_ == "boolean" and value in ("0", "1"))


def _fit(values: Sequence[str], type_: ColumnType) -> bool:
    return all(_fits(value, type_) for value in values)


def _type_of(values: Sequence[str]) -> ColumnType:
    """The narrowest type of which all values are; text where there are none."""
    return next((type_ for type_, test in _TESTS.items() if values and all(map(test, values))), "text")


# the contract's file ----------------------------------------------------------------------------------------


def _new_property(column: Column) -> dict[str, Any]:
    entry = {"name": column.name} | ({"physicalName": column.header} if column.header != column.name else {})
    return entry | _typed(column.type) | {"description": column.description}


def _typed(type_: ColumnType) -> dict[str, Any]:
    formats = {"date": "yyyy-MM-dd", "timestamptz": "yyyy-MM-dd HH:mm:ss"}
    options = {"logicalTypeOptions": {"format": formats[type_]}} if type_ in formats else {}
    return {"logicalType": _LOGICAL_TYPES[type_], "physicalType": type_} | options


def _change_property(entry: dict[str, Any], before: Column, now: Column) -> None:
    if now.header != before.header:
        entry["physicalName"] = now.header
    if before.is_required and not now.is_required:
        entry.pop("required", None)
    if now.type != before.type:
        kept = entry.pop("logicalTypeOptions", {}).items()
        typed = _typed(now.type)
        rules = dict(_rules_left(now, kept)) | typed.pop("logicalTypeOptions", {})
        entry |= typed | ({"logicalTypeOptions": rules} if rules else {})
    if now.allowed_values != before.allowed_values:
        if now.allowed_values:
            entry["quality"][0]["arguments"]["validValues"] = list(now.allowed_values)
        else:
            entry.pop("quality", None)


def _rules_left(column: Column, rules: Any) -> Iterator[tuple[str, Any]]:
    has = {
        "minimum": column.minimum is not None,
        "maximum": column.maximum is not None,
        "multipleOf": column.scale is not None,
        "maxLength": column.max_length is not None,
        "pattern": column.pattern is not None,
    }
    for name, value in rules:
        if has.get(name, False):
            yield name, value
