"""Bytes into a table: COPY fed by a thread that reads beside it, and the notices it answers with."""

from __future__ import annotations

import queue
import re
import threading
from array import array
from collections.abc import Iterator
from typing import Protocol

import psycopg2.extensions

#: Pieces that wait between the reader and COPY.
_WAITING_PIECES = 4

_SKIPPED = re.compile(r"skipping row due to data type incompatibility at line (\d+) ")


class Notices:
    """Collects the lines that COPY skipped. psycopg2's own list keeps fifty notices."""

    def __init__(self) -> None:
        self.lines: array[int] = array("q")

    def append(self, notice: str) -> None:
        """Called by psycopg2 with each notice, at the earliest with the command after the COPY."""
        found = _SKIPPED.search(notice)
        if found:
            self.lines.append(int(found[1]))

    def clear(self) -> None:
        """Forget what was collected."""
        self.lines = array("q")


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Direct:
    """Hands pieces to COPY as they are made."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.error: BaseException | None = None

    def read(self, size: int = -1, /) -> bytes:
        """The next piece, whatever its size; empty at the end."""
        try:
            for piece in self._pieces:
                if piece:
                    return piece
        except BaseException as error:
            self.error = error
            raise
        return b""

    def close(self) -> None:
        """Nothing to stop."""


class _Threaded:
    """Makes pieces in a thread while COPY sends the ones before."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue(_WAITING_PIECES)
        self._is_stopped = threading.Event()
        self._is_ended = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._make, args=(pieces,), name="load-reader", daemon=True)
        self._thread.start()

    def _make(self, pieces: Iterator[bytes]) -> None:
        try:
            for piece in pieces:
                if piece:
                    self._put(piece)
                if self._is_stopped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the thread that runs COPY
            self.error = error
        self._put(None)

    def _put(self, piece: bytes | None) -> None:
        while not self._is_stopped.is_set():
            try:
                self._queue.put(piece, timeout=0.5)
                return
            except queue.Full:  # COPY is slower; look whether it still wants more
                continue

    def read(self, size: int = -1, /) -> bytes:
        """The next piece, whatever its size; empty at the end."""
        if self._is_ended:
            return b""
        piece = self._queue.get()
        if piece is None:
            self._is_ended = True
            if self.error:
                raise self.error
            return b""
        return piece

    def close(self) -> None:
        """Stop the thread."""
        self._is_stopped.set()
        self._thread.join()


def copy_in(
    cursor: psycopg2.extensions.cursor, statement: str, pieces: Iterator[bytes], *, in_thread: bool
) -> int:
    """Run a `copy … from stdin` and return the number of rows it took.

    Args:
        pieces: What to send; whole lines.
        in_thread: Make the pieces beside the COPY; not worth a thread for a few kilobytes.

    Raises:
        psycopg2.Error: The server stopped the COPY.
        Exception: Whatever making the pieces raised.
    """
    source: _Threaded | _Direct = _Threaded(pieces) if in_thread else _Direct(pieces)
    try:
        cursor.copy_expert(statement, source)  # type: ignore[arg-type]  # reads, and needs no readline
    except psycopg2.Error:
        if source.error is not None:
            raise source.error from None  # the server only says that the client gave up
        raise
    finally:
        source.close()
    return cursor.rowcount
