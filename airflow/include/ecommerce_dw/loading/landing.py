"""Where a source's files lie: a folder, or a prefix in a bucket. The loader reads them through this alone."""

from __future__ import annotations

import datetime as dt
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from ecommerce_dw.loading.printable import printable
from ecommerce_dw.settings import Settings, is_url

#: Bytes read at a time.
READ_SIZE = 1 << 20

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
#: Names that producers give to files they are still writing.
_UNFINISHED_SUFFIXES = (".tmp", ".part")


class LandingError(Exception):
    """A landing zone as a whole cannot be reached; the message says why and what to do."""


class UnreadableFileError(Exception):
    """The system could not read the file this time; the next run tries again."""


class FileChangedError(OSError):
    """The file is not the one any more that was listed or opened."""


@dataclass(frozen=True)
class FileForm:
    """What tells one state of a file from another without reading it.

    Attributes:
        bytes: Its size.
        modified_at: Its modification time, in whole microseconds.
        etag: The store's name for these bytes; None in a folder.
    """

    bytes: int
    modified_at: dt.datetime
    etag: str | None = None


class OpenFile(Protocol):
    """A file that is being read.

    Attributes:
        form: Its form when it was opened.
    """

    @property
    def form(self) -> FileForm: ...

    def read(self) -> bytes:
        """The next piece, about `READ_SIZE` bytes; empty at the end.

        Raises:
            FileChangedError: It was changed or replaced since it was opened.
            OSError: It cannot be read.
        """

    def seek(self, position: int) -> int:
        """Go on at another byte."""

    def close(self) -> None:
        """Give it back."""


class Location(Protocol):
    """Where one file lies; as text, what a person calls it."""

    def open(self) -> OpenFile:
        """Open the file for reading.

        Raises:
            OSError: It cannot be opened.
        """


@dataclass(frozen=True)
class Listed:
    """A file of a landing zone, not looked at yet.

    Attributes:
        path: Path below the landing zone, with `/`.
        location: Where to open it.
        look: Gives its present form. Raises OSError where it cannot be looked at.
    """

    path: str
    location: Location
    look: Callable[[], FileForm]


class Landing(Protocol):
    """A source's landing zone; as text, its address."""

    def files(self, unreadable: list[tuple[str, str]]) -> Iterator[Listed]:
        """Its finished files, in no particular order; none where there is no such folder.

        Args:
            unreadable: Takes paths that could not be looked into, with the reason.

        Raises:
            LandingError: It cannot be reached.
        """

    def at(self, path: str) -> Location:
        """Where a file of it lies, or would lie."""

    def holds(self, path: str) -> bool:
        """Whether a file is there.

        Raises:
            LandingError: It cannot be reached.
        """

    def put(self, path: str, file: Path) -> None:
        """Copy a file there: whole at once, or not at all.

        Raises:
            OSError: The folder cannot be written.
            LandingError: The bucket cannot be written.
        """

    def path_of(self, file: Path) -> str | None:
        """The path below it of a file of this machine; None where that one lies elsewhere."""

    def spellings(self, path: str) -> set[str]:
        """The paths below it that a person may mean: the path itself, and what leads to it from elsewhere."""


def landing_of(settings: Settings, source: str) -> Landing:
    """A source's landing zone, as setting `LANDING_<SOURCE>` says.

    Raises:
        LandingError: The setting names no place that there can be, or there are no credentials for it.
    """
    address = settings.landing_address(source)
    if not is_url(address):
        return LocalLanding(Path(address))
    from ecommerce_dw.loading.object_store import ObjectLanding  # its library is loaded where it is used

    settings.share_provider_variables()
    return ObjectLanding(address, settings)


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is none of the producer's finished ones."""
    return name.startswith((".", "_")) or name.endswith(_UNFINISHED_SUFFIXES)


# ------------------------------------------------------------------------------------------------- a folder


@dataclass(frozen=True)
class LocalFile:
    """A file of this machine.

    Attributes:
        path: Its path.
        within: The folder that a link may not lead out of; None: any.
    """

    path: Path
    within: Path | None = None

    def __str__(self) -> str:
        return str(self.path)

    def open(self) -> OpenFile:
        """Open it; see `Location.open`."""
        return _OpenLocalFile(self.path, self.within)


class _OpenLocalFile:
    """Implements `OpenFile`."""

    def __init__(self, path: Path, within: Path | None) -> None:
        # Without waiting: a named pipe that nobody writes to would be waited for until the end of days.
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            _check_is_file(os.fstat(number))
            if within is not None and not _real_path(number, path).is_relative_to(within):
                raise _strays()
            self._file = os.fdopen(number, "rb", buffering=0)
        except BaseException:
            os.close(number)
            raise
        self.form = self._present_form()

    def read(self) -> bytes:
        piece = self._file.read(READ_SIZE)
        if not piece and self._present_form() != self.form:
            raise FileChangedError
        return piece

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def close(self) -> None:
        self._file.close()

    def _present_form(self) -> FileForm:
        return _form(os.fstat(self._file.fileno()))


class LocalLanding:
    """A landing folder; implements `Landing`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._real_folder = folder.resolve()  # the setting itself may be a link

    def __str__(self) -> str:
        return str(self._folder)

    def files(self, unreadable: list[tuple[str, str]]) -> Iterator[Listed]:
        """See `Landing.files`."""
        pending = [("", str(self._folder))]
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
                path = prefix + entry.name
                try:
                    if not entry.is_dir():
                        yield Listed(path, self._location(entry.path), partial(self._look, entry))
                        continue
                    if entry.is_symlink():
                        self._check_stays(entry)
                    status = entry.stat()
                except OSError as error:
                    unreadable.append((path, error.strerror or str(error)))
                    continue
                if entry.name.endswith((".csv", ".csv.gz")):
                    yield Listed(path, self._location(entry.path), partial(self._look, entry))
                if (status.st_dev, status.st_ino) not in seen:  # a link may lead back up
                    seen.add((status.st_dev, status.st_ino))
                    pending.append((f"{path}/", entry.path))

    def _location(self, path: str) -> LocalFile:
        return LocalFile(Path(path), self._real_folder)

    def _look(self, entry: os.DirEntry[str]) -> FileForm:
        """A file's present form. Raises OSError where it is no file, or a link that leads elsewhere."""
        status = entry.stat()
        if entry.is_symlink():
            self._check_stays(entry)
        _check_is_file(status)
        return _form(status)

    def _check_stays(self, entry: os.DirEntry[str]) -> None:
        if not Path(os.path.realpath(entry.path)).is_relative_to(self._real_folder):
            raise _strays()

    def at(self, path: str) -> Location:
        """See `Landing.at`."""
        return LocalFile(self._below(path), self._real_folder)

    def holds(self, path: str) -> bool:
        """See `Landing.holds`."""
        return self._below(path).is_file()

    def put(self, path: str, file: Path) -> None:
        """See `Landing.put`."""
        target = self._below(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        building = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            shutil.copyfile(file, building)
            if target.exists():  # who could read it still can
                there = target.stat()
                building.chmod(stat.S_IMODE(there.st_mode))
                if os.geteuid() == 0:
                    os.chown(building, there.st_uid, there.st_gid)
            with building.open("rb") as copied:
                os.fsync(copied.fileno())
            building.replace(target)
        finally:
            building.unlink(missing_ok=True)

    def _below(self, path: str) -> Path:
        if path.startswith("/") or ".." in path.split("/"):
            raise LandingError(f"{printable(path)} leads out of the landing zone {self._folder}.")
        return self._folder / path

    def path_of(self, file: Path) -> str | None:
        """See `Landing.path_of`."""
        folder, full_path = self._folder.resolve(), file.resolve()
        return full_path.relative_to(folder).as_posix() if full_path.is_relative_to(folder) else None

    def spellings(self, path: str) -> set[str]:
        """See `Landing.spellings`."""
        found = {Path(path).as_posix()}
        for full_path in (Path(path).absolute(), Path(path).resolve()):
            if full_path.is_relative_to(self._folder):
                found.add(full_path.relative_to(self._folder).as_posix())
        return found


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _check_is_file(status: os.stat_result) -> None:
    for is_kind, called in _KINDS:
        if is_kind(status.st_mode):
            raise OSError(errno.EINVAL, f"it is {called}, not a file")


def _strays() -> OSError:
    return OSError(
        errno.EXDEV,
        "it is a link that leads out of the landing zone; move the file there, or set LANDING_<SOURCE>",
    )


def _real_path(number: int, path: Path) -> Path:
    """Where an open file really lies; on Linux the kernel says so, whatever became of the path since."""
    try:
        return Path(f"/proc/self/fd/{number}").readlink()
    except OSError:
        return path.resolve()


def _form(status: os.stat_result) -> FileForm:
    # As PostgreSQL keeps a time: whole microseconds, no float in between.
    return FileForm(status.st_size, _EPOCH + dt.timedelta(microseconds=status.st_mtime_ns // 1000))
