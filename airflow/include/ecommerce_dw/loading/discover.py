"""What lies in a source's landing zone, and what of it has to be opened."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading.landing import FileForm, Landing, Location
from ecommerce_dw.loading.printable import is_printable, printable

_DATE_IN_NAME = re.compile(r"(?<![0-9])[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")


@dataclass(frozen=True)
class LandedFile:
    """A file in the landing zone that a contract's pattern names.

    Attributes:
        contract: Whose file it is.
        path: Path relative to the source's landing setting, with `/`: the file's identity.
        location: Where to open it.
        business_date: The date in its path; None where it has none (`dating.date_files` looks inside).
        part: Name of the additional part of its day (`fix-001`), or None.
        form: Its size, and what else tells its present state from another.
    """

    contract: Contract
    path: str
    location: Location
    business_date: dt.date | None
    part: str | None
    form: FileForm

    @property
    def bytes(self) -> int:
        """Its size."""
        return self.form.bytes

    @property
    def is_gzip(self) -> bool:
        """Whether the file is compressed."""
        return self.path.endswith(".gz")


@dataclass(frozen=True)
class LandingZone:
    """What lies in one source's landing zone.

    Attributes:
        files: What the contracts' patterns name, by date and path; those without a date first.
        unmatched: Paths that no pattern names; listed, never refused.
        unreadable: Paths that could not be looked at, with the reason.
    """

    files: tuple[LandedFile, ...]
    unmatched: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]


def pattern_expression(pattern: str) -> re.Pattern[str]:
    """The expression that a path below the landing zone matches when it is a file of this pattern.

    `{date}` stands for YYYY-MM-DD, `{name}` for any name, `{part}` for nothing or `.<part>`; `.gz` may
    follow.
    """
    expression = re.escape(pattern)
    expression = expression.replace(re.escape("{date}"), r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})", 1)
    expression = expression.replace(re.escape("{date}"), r"(?P=date)")
    expression = expression.replace(re.escape("{name}"), r"(?P<name>[^/]+?)", 1)
    expression = expression.replace(re.escape("{part}"), r"(?:\.(?P<part>[A-Za-z0-9_-]+))?", 1)
    return re.compile(expression + r"(?:\.gz)?")


def match_path(
    path: str, contracts: Iterable[Contract]
) -> tuple[Contract, dt.date | None, str | None] | None:
    """The contract, date and part of a path below the landing zone; None where no pattern names it."""
    for contract in contracts:
        found = pattern_expression(contract.layout.pattern).fullmatch(path)
        if found:
            try:
                return contract, _date_of(found), found.groupdict().get("part")
            except ValueError:
                continue
    return None


def _date_of(found: re.Match[str]) -> dt.date | None:
    """The date in a path that a pattern names; None where a free name has not exactly one.

    Raises:
        ValueError: What stands where the date belongs looks like one and is none (2026-02-31).
    """
    groups = found.groupdict()
    if "date" in groups:
        return dt.date.fromisoformat(groups["date"])
    dates = _DATE_IN_NAME.findall(groups["name"])
    if len(dates) != 1:  # the first and last day of a history name no day
        return None
    try:
        return dt.date.fromisoformat(dates[0])
    except ValueError:
        return None


def in_order(files: Iterable[LandedFile]) -> tuple[LandedFile, ...]:
    """Files by date and path; those without a date first."""
    return tuple(sorted(files, key=lambda file: (file.business_date or dt.date.min, file.path)))


def discover(landing: Landing, contracts: Mapping[str, Contract]) -> LandingZone:
    """Look through a landing zone without opening a file.

    Args:
        landing: The source's.
        contracts: The source's contracts, by entity.

    Raises:
        ecommerce_dw.loading.landing.LandingError: It cannot be reached.
    """
    expressions = [(pattern_expression(c.layout.pattern), c) for c in contracts.values()]
    files: list[LandedFile] = []
    unmatched: list[str] = []
    unreadable: list[tuple[str, str]] = []
    for listed in landing.files(unreadable):
        for expression, contract in expressions:
            found = expression.fullmatch(listed.path)
            if not found:
                continue
            try:
                business_date = _date_of(found)
            except ValueError:
                continue
            if not is_printable(listed.path):
                unreadable.append((printable(listed.path), "its name has characters that cannot be shown"))
                break
            try:
                form = listed.look()
            except OSError as error:
                unreadable.append((listed.path, error.strerror or str(error)))
                break
            files.append(
                LandedFile(
                    contract=contract,
                    path=listed.path,
                    location=listed.location,
                    business_date=business_date,
                    part=found.groupdict().get("part"),
                    form=form,
                )
            )
            break
        else:
            unmatched.append(printable(listed.path))
    told = tuple((printable(path), reason) for path, reason in unreadable)
    return LandingZone(in_order(files), tuple(sorted(unmatched)), told)
