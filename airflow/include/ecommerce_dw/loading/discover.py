"""What lies in a source's landing folder, and what of it has to be opened."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ecommerce_dw.contracts.model import Contract

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
#: Names that producers give to files they are still writing.
_UNFINISHED_SUFFIXES = (".tmp", ".part")
_DATE_IN_NAME = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")


@dataclass(frozen=True)
class LandedFile:
    """A file in the landing zone that a contract's pattern names.

    Attributes:
        contract: Whose file it is.
        path: Path relative to the source's landing folder, with `/`: the file's identity.
        full_path: Where to open it.
        business_date: The date in its path; None where it has none (`dating.date_files` looks inside).
        part: Name of the additional part of its day (`fix-001`), or None.
        bytes: Its size.
        modified_at: Its modification time, in whole microseconds.
    """

    contract: Contract
    path: str
    full_path: Path
    business_date: dt.date | None
    part: str | None
    bytes: int
    modified_at: dt.datetime

    @property
    def is_gzip(self) -> bool:
        """Whether the file is compressed."""
        return self.path.endswith(".gz")


@dataclass(frozen=True)
class LandingZone:
    """What lies in one source's landing folder.

    Attributes:
        files: What the contracts' patterns name, by date and path; those without a date first.
        unmatched: Paths that no pattern names; listed, never refused.
        unreadable: Paths that could not be looked at, with the reason.
        exists: Whether the folder is there.
    """

    files: tuple[LandedFile, ...]
    unmatched: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    exists: bool


def pattern_expression(pattern: str) -> re.Pattern[str]:
    """The expression that a path below the landing folder matches when it is a file of this pattern.

    `{date}` stands for YYYY-MM-DD, `{name}` for any name, `{part}` for nothing or `.<part>`; `.gz` may
    follow.
    """
    expression = re.escape(pattern)
    expression = expression.replace(re.escape("{date}"), r"(?P<date>\d{4}-\d{2}-\d{2})", 1)
    expression = expression.replace(re.escape("{date}"), r"(?P=date)")
    expression = expression.replace(re.escape("{name}"), r"(?P<name>[^/]+?)", 1)
    expression = expression.replace(re.escape("{part}"), r"(?:\.(?P<part>[A-Za-z0-9_-]+))?", 1)
    return re.compile(expression + r"(?:\.gz)?")


def match_path(
    path: str, contracts: Iterable[Contract]
) -> tuple[Contract, dt.date | None, str | None] | None:
    """The contract, date and part of a path below the landing folder; None where no pattern names it."""
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


def discover(landing: Path, contracts: Mapping[str, Contract]) -> LandingZone:
    """Look through a landing folder without opening a file.

    Args:
        landing: The source's landing folder.
        contracts: The source's contracts, by entity.
    """
    expressions = [(pattern_expression(c.layout.pattern), c) for c in contracts.values()]
    files: list[LandedFile] = []
    unmatched: list[str] = []
    unreadable: list[tuple[str, str]] = []
    for path, entry in _walk(landing, unreadable):
        for expression, contract in expressions:
            found = expression.fullmatch(path)
            if not found:
                continue
            try:
                business_date = _date_of(found)
            except ValueError:
                continue
            try:
                status = entry.stat()
            except OSError as error:
                unreadable.append((path, error.strerror or str(error)))
                break
            files.append(
                LandedFile(
                    contract=contract,
                    path=path,
                    full_path=Path(entry.path),
                    business_date=business_date,
                    part=found.groupdict().get("part"),
                    bytes=status.st_size,
                    modified_at=to_timestamp(status.st_mtime_ns),
                )
            )
            break
        else:
            unmatched.append(path)
    return LandingZone(in_order(files), tuple(sorted(unmatched)), tuple(unreadable), landing.is_dir())


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is none of the producer's finished ones."""
    return name.startswith((".", "_")) or name.endswith(_UNFINISHED_SUFFIXES)


def to_timestamp(nanoseconds: int) -> dt.datetime:
    """A file's modification time as PostgreSQL keeps it: whole microseconds, no float in between."""
    return _EPOCH + dt.timedelta(microseconds=nanoseconds // 1000)


def _walk(landing: Path, unreadable: list[tuple[str, str]]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    pending = [("", str(landing))]
    seen: set[tuple[int, int]] = set()
    while pending:
        prefix, folder = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            unreadable.append((prefix or ".", error.strerror or str(error)))
            continue
        for entry in entries:
            if is_passed_over(entry.name):
                continue
            if entry.is_dir():
                status = entry.stat()
                if (status.st_dev, status.st_ino) not in seen:  # a link may lead back up
                    seen.add((status.st_dev, status.st_ino))
                    pending.append((f"{prefix}{entry.name}/", entry.path))
            else:
                yield f"{prefix}{entry.name}", entry
