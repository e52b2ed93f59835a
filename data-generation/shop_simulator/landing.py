"""Files of the landing zone: written under another name and renamed, left alone when nothing changed."""

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO, Protocol, cast

_GZIP_LEVEL = 6


class _Writer(Protocol):
    def write(self, data: bytes | bytearray, /) -> int: ...


@dataclass(frozen=True)
class Delivered:
    """What happened to one file."""

    path: Path
    rows: int
    bytes: int
    """Size of the file as it stands on the disk."""
    is_changed: bool
    """False: the same bytes were there already and were left untouched."""


def path_of(out: Path, entity: str, day: date, *, compress: bool) -> Path:
    """Where the file of an entity and day is in a landing zone."""
    return out / entity / f"dt={day.isoformat()}" / f"{entity}.csv{'.gz' if compress else ''}"


def deliver(path: Path, content: Callable[[], Iterator[tuple[bytes | bytearray, int]]]) -> Delivered:
    """Bring a file to the given content; a name ending in .gz is compressed.

    `content` gives the text in chunks with their number of rows, the same at every call. A file that has
    these bytes already keeps its modification time. Other bytes are written to a hidden file beside it
    and renamed, so that no reader sees half a file. Raises OSError when the folder cannot be written, and
    FileExistsError when the same day is there in the other form (compressed or not), as a reader of the
    landing zone would take both.
    """
    other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(path.name + ".gz")
    if other.exists():
        raise FileExistsError(
            f"{other} is there already: the day would be delivered twice; remove it or use the same form"
        )
    if path.exists():
        comparison = _Comparison(path)
        with comparison:
            rows = _write(comparison, content, path)
        if comparison.is_same:
            return Delivered(path, rows, path.stat().st_size, is_changed=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with hidden.open("wb") as file:
            rows = _write(file, content, path)
            size = file.tell()
        hidden.replace(path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
    return Delivered(path, rows, size, is_changed=True)


def _write(file: _Writer, content: Callable[[], Iterator[tuple[bytes | bytearray, int]]], path: Path) -> int:
    rows = 0
    with _compressed(file, path) as writer:
        for text, count in content():
            writer.write(text)
            rows += count
    return rows


@contextmanager
def _compressed(file: _Writer, path: Path) -> Iterator[_Writer]:
    if path.suffix != ".gz":
        yield file
        return
    # Neither name nor time in the header: the bytes depend on the content alone.
    stream = cast(BinaryIO, file)
    with gzip.GzipFile("", "wb", compresslevel=_GZIP_LEVEL, fileobj=stream, mtime=0) as writer:
        yield writer


class _Comparison:
    """Takes what would be written to a file and compares it with what the file holds."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._same = True

    def __enter__(self) -> "_Comparison":
        return self

    def __exit__(self, *error: object) -> None:
        self._same = self._same and not self._file.read(1)
        self._file.close()

    @property
    def is_same(self) -> bool:
        """Whether everything written was what the file held; to be read after the end of the block."""
        return self._same

    def write(self, data: bytes | bytearray, /) -> int:
        self._same = self._same and self._file.read(len(data)) == data
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered."""
