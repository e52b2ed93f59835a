"""What a load did, for people and machines."""

from __future__ import annotations

import datetime as dt
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from ecommerce_dw.loading.discover import LandedFile
from ecommerce_dw.logs import about

Outcome = Literal["loaded", "refused", "skipped", "unchanged", "set_aside", "unreadable", "failed"]


@dataclass(frozen=True)
class FileOutcome:
    """What happened to one file.

    Attributes:
        business_date: None where neither the file's name nor its content has a date.
        outcome: `loaded`; `refused` (nothing of it is in the table); `skipped` (same path, size and time);
            `unchanged` (other time, same bytes); `set_aside` (a decision in the journal says so);
            `unreadable` and `failed` are tried again by the next run.
        rows_read, rows_loaded, rows_rejected: Records. Of a loaded file the first is the sum of the others.
        message: For people; None where all is well.
        index_seconds: Time spent on building the table's indexes with this file.
    """

    source: str
    entity: str
    path: str
    business_date: dt.date | None
    outcome: Outcome
    rows_read: int = 0
    rows_loaded: int = 0
    rows_rejected: int = 0
    bytes: int = 0
    message: str | None = None
    file_id: int | None = None
    index_seconds: float = 0.0


@dataclass(frozen=True)
class EntityLoad:
    """What one load did for one entity."""

    source: str
    entity: str
    files_loaded: int
    files_refused: int
    rows_read: int
    rows_loaded: int
    rows_rejected: int


@dataclass(frozen=True)
class LoadSummary:
    """What one load did.

    Attributes:
        business_date: Files with a later date stayed where they are; None where nothing has landed.
        files_loaded, files_skipped, files_refused, files_failed: Counts. Skipped are those in their present
            form in the ledger already; failed are those to be tried again by the next run.
        entities: Rows per entity, of what was loaded now.
        outcomes: Every file that was not skipped.
        unmatched: `source: path` of files that no contract's pattern names.
        missing: `source: path` of files in the ledger that are gone from the landing zone; their rows stay.
        seconds, index_seconds: Wall time of it all, and the part spent on building indexes at the end.
    """

    business_date: dt.date | None
    files_loaded: int
    files_skipped: int
    files_refused: int
    files_failed: int
    rows_read: int
    rows_loaded: int
    rows_rejected: int
    entities: tuple[EntityLoad, ...]
    outcomes: tuple[FileOutcome, ...]
    unmatched: tuple[str, ...]
    missing: tuple[str, ...]
    seconds: float
    index_seconds: float


def outcome_of(file: LandedFile, outcome: Outcome, message: str | None = None) -> FileOutcome:
    return FileOutcome(
        source=file.contract.source,
        entity=file.contract.entity,
        path=file.path,
        business_date=file.business_date,
        outcome=outcome,
        bytes=file.bytes,
        message=message,
    )


def about_file(outcome: FileOutcome) -> AbstractContextManager[None]:
    """Say in log lines which file they are about."""
    return about(source=outcome.source, entity=outcome.entity, file=outcome.path)
