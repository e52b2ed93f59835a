"""A way to the server that breaks."""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence

from tests.support.listening import Listener, reset_on_close


class BreakingProxy:
    """Carries bytes between clients and a server until some texts have gone by, and so many bytes after them.

    Then, once, both ends of that connection are reset, and what the server has answered is lost. Other
    connections are carried as usual.

    Args:
        port: Of the server, on 127.0.0.1.
        texts: What is waited for, one after the other, as a client sends it on one connection, lower case.
        more: Bytes after them that still reach the server.

    Attributes:
        port: Where it listens.
        has_broken: Whether it has reset that connection.
    """

    def __init__(self, port: int, texts: Sequence[bytes], more: int) -> None:
        self._server = ("127.0.0.1", port)
        self._texts, self._more = texts, more
        self.has_broken = False
        self._listener = Listener(self._carry)
        self.port = self._listener.port

    def __enter__(self) -> BreakingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

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
                        reset_on_close(client)
                        reset_on_close(server)
                        return
