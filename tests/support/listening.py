"""Servers on real sockets for tests: one thread for each connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable


class Listener:
    """Listens on 127.0.0.1 from now on, and has each connection served in a thread of its own.

    Args:
        serve: Is given each connection, and ends with it.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.port: int = self._socket.getsockname()[1]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        with contextlib.suppress(OSError):  # not connected, as it only listens
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._threads[0].join()
        for connection in self._open:
            with contextlib.suppress(OSError):  # closed by who served it
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


def reset_on_close(connection: socket.socket) -> None:
    """Let the connection end with a reset when it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
