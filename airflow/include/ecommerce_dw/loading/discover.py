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


@dataclass(frozen=True)
class LandedFile:
    """A file in the landing zone that a contract's pattern names.

    Attributes:
        contract: Whose file it is.
        path: Path relative to the source's landing folder, with `/`: the file's identity.
        full_path: Where to open it.
        business_date: The date in its path.
        part: Name of the additional part of its day (`fix-001`), or None.
        bytes: Its size.
        modified_at: Its modification time, in whole microseconds.
    """

    contract: Contract
    path: str
    full_path: Path
    business_date: dt.date
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
        files: What the contracts' patterns name, by date and path.
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

    `{date}` stands for YYYY-MM-DD, `{part}` for nothing or `.<part>`; `.gz` may follow.
    """
    expression = re.escape(pattern)
    expression = expression.replace(re.escape("{date}"), r"(?P<date>\d{4}-\d{2}-\d{2})", 1)
    expression = expression.replace(re.escape("{date}"), r"(?P=date)")
    expression = expression.replace(re.escape("{part}"), r"(?:\.(?P<part>[A-Za-z0-9_-]+))?", 1)
    return re.compile(expression + r"(?:\.gz)?")


def match_path(path: str, contracts: Iterable[Contract]) -> tuple[Contract, dt.date, str | None] | None:
    """The contract, date and part of a path below the landing folder; None where no pattern names it."""
    for contract in contracts:
        found = pattern_expression(contract.layout.pattern).fullmatch(path)
        if found:
            groups = found.groupdict()
            try:
                return contract, dt.date.fromisoformat(groups["date"]), groups.get("part")
            except ValueError:  # 2026-02-31 looks like a date and is none: no pattern names such a file
                continue
    return None


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
            groups = found.groupdict()
            try:
                business_date = dt.date.fromisoformat(groups["date"])
            except ValueError:  # looks like a date and is none
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
                    part=groups.get("part"),
                    bytes=status.st_size,
                    modified_at=to_timestamp(status.st_mtime_ns),
                )
            )
            break
        else:
            unmatched.append(path)
    files.sort(key=lambda file: (file.business_date, file.path))
    return LandingZone(tuple(files), tuple(sorted(unmatched)), tuple(unreadable), landing.is_dir())


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
            if entry.name.startswith((".", "_")) or entry.name.endswith(_UNFINISHED_SUFFIXES):
                continue
            if entry.is_dir():
                status = entry.stat()
                if (status.st_dev, status.st_ino) not in seen:  # a link may lead back up
                    seen.add((status.st_dev, status.st_ino))
                    pending.append((f"{prefix}{entry.name}/", entry.path))
            else:
                yield f"{prefix}{entry.name}", entry
