"""Files that are written from others and kept in the repository, so that a reader finds them there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SyncResult:
    """What a synchronisation found, as paths.

    Attributes:
        current: Files that already were as they should be.
        written: Files that were missing or different.
        removed: Files that nothing stands behind any more.
    """

    current: tuple[Path, ...]
    written: tuple[Path, ...]
    removed: tuple[Path, ...]

    @property
    def stale(self) -> tuple[Path, ...]:
        """Files that were not current."""
        return self.written + self.removed


def bring_current(
    files: Mapping[Path, str], *, removable: Iterable[Path] = (), dry_run: bool = False
) -> SyncResult:
    """Write the files that are not as they should be.

    Args:
        files: Every file with the text it should have.
        removable: Files that are there and were written by a command; those that are not in `files` go.
        dry_run: Write nothing; the result says what would be.
    """
    current = tuple(path for path, text in files.items() if read_text(path) == text)
    written = tuple(path for path in files if path not in current)
    removed = tuple(path for path in sorted(removable) if path not in files)
    if not dry_run:
        for path in written:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
        for path in removed:
            path.unlink()
    return SyncResult(current, written, removed)


def read_text(path: Path) -> str | None:
    """The text of a file; None when there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else None
