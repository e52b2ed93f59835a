"""A way to the server that breaks."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Sequence
from types import TracebackType


class BreakingProxy:
    """Carries bytes between clients and a server until some texts have gone by, and so many bytes after them.

    Then, once, both ends of that connection are reset, and what the server has answered is lost. Other
    connections are carried as usual.

    Args:
        port: Of the server, on 127.0.0.1.
        texts: What is waited for, one after the other, as a client sends it on one connection, lower case.
        more: Bytes after them that still reach the server.
    """

    def __init__(self, port: int, texts: Sequence[bytes], more: int) -> None:
        self._server = ("127.0.0.1", port)
        self._texts, self._more = texts, more
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.has_broken = False

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> BreakingProxy:
        self._threads.append(threading.Thread(target=self._accept))
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # not connected, as it only listens
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._carry, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket) -> None:
        wanted = [*self._texts]
        seen, left = b"", self._more
        with client, socket.create_connection(self._server) as server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    try:
                        data = source.recv(1024)
                    except ConnectionError:
                        return
                    if not data:
                        return
                    (client if source is server else server).sendall(data)
                    if source is server or self.has_broken:
                        continue
                    if not wanted:
                        left -= len(data)
                    seen = (seen + data.lower())[-2048:]
                    while wanted and (at := seen.find(wanted[0])) >= 0:
                        seen = seen[at + len(wanted.pop(0)) :]
                    if not wanted and left <= 0:
                        self.has_broken = True
                        select.select([server], [], [], 0.3)  # it has done what was asked
                        _reset(client)
                        _reset(server)
                        return


def _reset(end: socket.socket) -> None:
    """Close with a reset in place of an end."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
