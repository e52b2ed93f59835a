"""What changed between two versions of a contract, and what that asks of its number and of a raw table.

Versions are semantic: a major one for what makes a delivery or a reader fail that was good before, a minor
one for what lets more through or adds something, a patch for words.
`docs/decisions/0013-contract-versions.md` lists which change is which.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from ecommerce_dw.contracts.model import Column, Contract

#: What a contract says, as plain JSON: how a version is kept in `ops.contract_versions` and `released.json`.
Content = Mapping[str, Any]
Level = Literal["patch", "minor", "major"]
#: `none`: the table follows. `check rows`: it follows unless rows are there that break the new rule.
#: `needs an empty table`: rows were read in a way that is no longer the contract's. `impossible`: never.
Effect = Literal["none", "check rows", "needs an empty table", "impossible"]

_LEVELS: tuple[Level, ...] = ("patch", "minor", "major")

#: Types whose every value is the same value in the other type, whatever the file said.
WIDER_TYPES = {("integer", "bigint"), ("integer", "numeric"), ("bigint", "numeric")}

_NEW_ENTITY = (
    "Keep this contract as it is and write the new shape as an entity of its own (another contract, another "
    "path in the landing zone); the staging model unites both."
)


#: What to do about rows that break a stricter rule.
BROKEN_BY_ROWS = (
    "Have their files corrected or take them out (`ecommerce-dw withdraw PATH`) first; or leave the rule as "
    "it was and test it in dbt."
)


@dataclass(frozen=True)
class Change:
    """One difference between two versions of a contract.

    Attributes:
        what: What changed, from what to what.
        level: The least step of the version number it asks for.
        effect: What it does to a raw table that is there.
        remedy: What to do instead, where the table cannot follow.
    """

    what: str
    level: Level
    effect: Effect = "none"
    remedy: str = ""


def content(contract: Contract) -> dict[str, Any]:
    """Everything a contract says, as plain JSON. What is not said (no minimum, no key) is left out."""
    layout = contract.layout
    return _said(
        {
            "version": contract.version,
            "description": contract.description,
            "grain": contract.grain,
            "columns": {column.name: _column_content(column) for column in contract.columns},
            "primary_key": list(contract.primary_key),
            "touch_keys": list(contract.touch_keys),
            "ordering_column": contract.ordering_column,
            "time_zone": contract.time_zone,
            "currency": contract.currency,
            "currency_column": contract.currency_column,
            "path": layout.pattern,
            "delimiter": layout.delimiter,
            "quote": layout.quote,
            "encoding": layout.encoding,
            "compressions": sorted(layout.compressions),
            "max_rejected_rows": contract.max_rejected_rows,
            "max_rejected_share": _number(contract.max_rejected_share),
            "extra_columns": contract.extra_columns,
            "max_staleness_days": contract.max_staleness_days,
            "refusal_severity": contract.refusal_severity,
            "feeds": sorted(contract.feeds),
        }
    )


def _column_content(column: Column) -> dict[str, Any]:
    return _said(
        {
            "header": column.header,
            "type": column.type,
            "required": column.is_required,
            "unique": column.is_unique,
            "minimum": _number(column.minimum),
            "maximum": _number(column.maximum),
            "scale": column.scale,
            "max_length": column.max_length,
            "pattern": column.pattern,
            "allowed_values": sorted(column.allowed_values),
            "references": ".".join(column.references) if column.references else None,
            "pii": None if column.pii == "none" else column.pii,
            "description": column.description,
        }
    )


def _said(values: dict[str, Any]) -> dict[str, Any]:
    # 0 says something and equals False: hence `is`.
    return {
        name: value
        for name, value in values.items()
        if value is not None and value is not False and value not in ([], "")
    }


def _number(value: Decimal | None) -> str | None:
    return None if value is None else format(value.normalize(), "f")


def compare(old: Content, new: Content) -> tuple[Change, ...]:
    """Every difference between two versions of a contract; none when only the version number differs."""
    return tuple(_changes(old, new))


def required_version(version: str, changes: tuple[Change, ...]) -> str:
    """The least version number that may carry these changes after this one."""
    if not changes:
        return version
    major, minor, patch = version_numbers(version)
    level = max((change.level for change in changes), key=_LEVELS.index)
    return {
        "major": f"{major + 1}.0.0",
        "minor": f"{major}.{minor + 1}.0",
        "patch": f"{major}.{minor}.{patch + 1}",
    }[level]


def version_problem(old: Content, new: Content, changes: tuple[Change, ...]) -> str | None:
    """Why the new version number is not right for these changes, and what it has to be; None when it is."""
    before, after = old["version"], new["version"]
    least = required_version(before, changes)
    if version_numbers(after) >= version_numbers(least):
        return None
    what = "; ".join(change.what for change in changes)
    if version_numbers(after) < version_numbers(before):
        return f"Version {after} is older than {before}, which is in force."
    if after == before:
        return f"It changed ({what}), its version is still {before}. Give it version {least} or higher."
    return (
        f"Version {after} is too small a step after {before} for: {what}. Give it version {least} or higher."
    )


def version_numbers(version: str) -> tuple[int, int, int]:
    """`1.20.3` as numbers, so that versions can be compared."""
    major, minor, patch = (int(part) for part in version.split("."))
    return major, minor, patch


# ------------------------------------------------------------------------------------------- the entity


def _changes(old: Content, new: Content) -> Iterator[Change]:
    yield from _columns(old["columns"], new["columns"])
    for name in ("primary_key", "ordering_column", "time_zone", "currency", "delimiter", "quote", "encoding"):
        if old.get(name) != new.get(name):
            reads_rows_otherwise = name in ("primary_key", "time_zone", "currency")
            yield Change(
                _from_to(name.replace("_", " "), old.get(name), new.get(name)),
                "major",
                "needs an empty table" if reads_rows_otherwise else "none",
                _NEW_ENTITY if reads_rows_otherwise else "",
            )
    if old.get("currency_column") != new.get("currency_column"):
        yield _loosened_or_stricter(
            _from_to("currency column", old.get("currency_column"), new.get("currency_column")),
            is_looser=new.get("currency_column") is None,
        )
    if old["path"] != new["path"]:
        yield Change(_from_to("path of the files", old["path"], new["path"]), "major")
    for name in ("touch_keys", "compressions", "feeds"):
        before, after = set(old.get(name, ())), set(new.get(name, ()))
        if before != after:
            yield Change(
                _from_to(name.replace("_", " "), sorted(before), sorted(after)),
                "minor" if before < after else "major",
            )
    for name, is_looser in (
        ("max_rejected_rows", int(new.get("max_rejected_rows", 0)) > int(old.get("max_rejected_rows", 0))),
        ("max_rejected_share", Decimal(new["max_rejected_share"]) > Decimal(old["max_rejected_share"])),
        ("extra_columns", new["extra_columns"] == "ignore"),
    ):
        if old.get(name) != new.get(name):
            yield Change(
                _from_to(name.replace("_", " "), old.get(name), new.get(name)),
                "minor" if is_looser else "major",
            )
    for name in ("description", "grain", "max_staleness_days", "refusal_severity"):
        if old.get(name) != new.get(name):
            yield Change(f"other {name.replace('_', ' ')}", "patch")


# ------------------------------------------------------------------------------------------ the columns


def _columns(old: Mapping[str, Content], new: Mapping[str, Content]) -> Iterator[Change]:
    added = [name for name in new if name not in old]
    for name in old:
        if name in new:
            yield from _column(name, old[name], new[name])
        else:
            yield _dropped(name, old[name], {other: new[other] for other in added})
    for name in added:
        if new[name].get("required"):
            yield Change(f"column {name} is new and required", "major", "check rows")
        else:
            yield Change(f"column {name} is new ({new[name]['type']}, optional)", "minor")


def _dropped(name: str, gone: Content, added: Mapping[str, Content]) -> Change:
    """A column that the contract no longer names; perhaps it has another name now."""
    alike = [
        other
        for other, now in added.items()
        if now["type"] == gone["type"]
        and (now["header"] == gone["header"] or now.get("description") == gone.get("description"))
    ] or difflib.get_close_matches(name, [o for o, now in added.items() if now["type"] == gone["type"]], n=1)
    if alike:
        return Change(
            f"column {name} is called {alike[0]}",
            "major",
            "impossible",
            f"Keep the name {name}. When the files call it otherwise, say so by `physicalName`; the staging "
            "model can give it any name.",
        )
    return Change(
        f"column {name} ({gone['type']}) is gone",
        "major",
        "impossible",
        f"Keep {name} in the contract without `required`: files that lack it load, its rows stay readable.",
    )


def _column(name: str, old: Content, new: Content) -> Iterator[Change]:
    where = f"column {name}: "
    if old["type"] != new["type"]:
        what = _from_to(f"{where}type", old["type"], new["type"])
        if (old["type"], new["type"]) in WIDER_TYPES:
            yield Change(what, "minor")
        else:
            yield Change(
                what,
                "major",
                "impossible",
                f"Add a column under another name with the new type. Or: {_NEW_ENTITY}",
            )
    if old["header"] != new["header"]:
        yield Change(_from_to(f"{where}header", old["header"], new["header"]), "major")
    for name_, looser in _RULES.items():
        before, after = old.get(name_), new.get(name_)
        if before != after:
            yield _loosened_or_stricter(
                _from_to(where + name_.replace("_", " "), before, after),
                is_looser=after is None or (before is not None and looser(before, after)),
            )
    if old.get("references") != new.get("references"):
        yield Change(_from_to(f"{where}reference", old.get("references"), new.get("references")), "minor")
    for name_ in ("description", "pii"):
        if old.get(name_) != new.get(name_):
            yield Change(f"{where}other {'class of personal data' if name_ == 'pii' else name_}", "patch")


#: Rule → whether its second value lets through all that the first one did. A rule that goes is looser.
_RULES: Mapping[str, Callable[[Any, Any], bool]] = {
    "required": lambda before, after: False,
    "unique": lambda before, after: False,
    "minimum": lambda before, after: Decimal(after) < Decimal(before),
    "maximum": lambda before, after: Decimal(after) > Decimal(before),
    "scale": lambda before, after: after > before,
    "max_length": lambda before, after: after > before,
    "pattern": lambda before, after: False,  # whether an expression takes in another cannot be told
    "allowed_values": lambda before, after: set(after) > set(before),
}


def _loosened_or_stricter(what: str, *, is_looser: bool) -> Change:
    if is_looser:
        return Change(what, "minor")
    return Change(what, "major", "check rows")


def _from_to(what: str, before: Any, after: Any) -> str:
    return f"{what} {_shown(before)} → {_shown(after)}"


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if value is True:
        return "yes"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
