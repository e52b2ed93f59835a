"""The journal of people's decisions, outside the database: a rebuild from the landing zone applies it."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import heapq
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ecommerce_dw.settings import Settings

DecisionKind = Literal["accept", "discard", "withdraw", "superseded"]


#: What the ledger says of a file that was decided to be set aside.
STATUS: Mapping[str, str] = {"discard": "discarded", "withdraw": "withdrawn"}
#: Why a decision is there again about other bytes: those it was made about were rewritten.
ERASED = "personal data erased"


class JournalError(ValueError):
    """The journal has a line that is no decision; the message names it. Nothing was loaded."""


@dataclass(frozen=True)
class Decision:
    """What a person decided about the bytes of a file.

    Attributes:
        decision: `superseded` ends the decision before it: other bytes came.
        sha256: The bytes it is about; the decision does not hold for others.
        at: When, ISO 8601 in UTC.
    """

    decision: DecisionKind
    source: str
    path: str
    sha256: str
    at: str
    by: str
    reason: str


def journal_file(settings: Settings) -> Path:
    """Where the journal is."""
    return settings.home / "journal" / "decisions.jsonl"


def append(
    settings: Settings, decision: DecisionKind, source: str, path: str, sha256: str, *, reason: str
) -> None:
    """Write a decision to the journal, to the disk, before the database takes it over.

    So a decision that the database has is always in the journal; one that did not reach the database is about
    bytes that are still refused or loaded, and taking it again adds a line that says the same.
    """
    file = journal_file(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    entry = {
        "decision": decision,
        "source": source,
        "path": path,
        "sha256": sha256,
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "by": _user(),
        "reason": reason,
    }
    line = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def last_decisions(settings: Settings) -> dict[tuple[str, str], Decision]:
    """The decision that holds for each (source, path), for a database that does not know the path yet."""
    file = journal_file(settings)
    if not file.exists():
        return {}
    decisions: dict[tuple[str, str], Decision] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = Decision(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise JournalError(
                f"{file}, line {number}: not a decision ({error}). Nothing was loaded. Correct the line or "
                "take it out, then run again."
            ) from error
        decisions[(entry.source, entry.path)] = entry
    return {key: entry for key, entry in decisions.items() if entry.decision != "superseded"}


def merge(settings: Settings, saved: str) -> int:
    """Bring the decisions of a saved journal into this one, by the time they were made; none is lost.

    Args:
        settings: Whose journal.
        saved: The saved journal's text.

    Returns:
        How many lines this journal did not have.
    """
    file = journal_file(settings)
    known = _lines(file.read_text(encoding="utf-8")) if file.exists() else []
    there = Counter(known)
    missing = []
    for line in _lines(saved):
        if there[line]:
            there[line] -= 1
        else:
            missing.append(line)
    if not missing:
        return 0
    # Each is in its own order; of one second those that were saved come first.
    merged = [line for _, line in heapq.merge(_dated(missing), _dated(known), key=lambda entry: entry[0])]
    file.parent.mkdir(parents=True, exist_ok=True)
    building = file.with_name(f".{file.name}.{os.getpid()}")
    with building.open("w", encoding="utf-8") as output:
        output.write("".join(f"{line}\n" for line in merged))
        output.flush()
        os.fsync(output.fileno())
    if file.exists():
        building.chmod(file.stat().st_mode & 0o777)
    building.replace(file)
    return len(missing)


def count_since(settings: Settings, at: str) -> int:
    """How many decisions were made after a moment (ISO 8601 in UTC)."""
    file = journal_file(settings)
    lines = _lines(file.read_text(encoding="utf-8")) if file.exists() else []
    return sum(made > at for made, _ in _dated(lines))


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _dated(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each line with the time the journal has come to; one that is no decision stays in its place."""
    at = ""
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            at = max(at, str(json.loads(line)["at"]))
        yield at, line


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return str(os.getuid())
