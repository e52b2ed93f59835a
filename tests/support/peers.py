"""Peers that misbehave: SMTP and HTTP servers on real sockets that do one thing wrong at one point."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

from tests.support.listening import Listener, reset_on_close

#: Points of a mail's dialogue at which a server speaks.
SMTP_PHASES = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "content", "answer")
#: Points of the answer to a post.
HTTP_PHASES = ("request", "status", "headers", "answer")

_HTTP_PARTS = {
    "request": b"",
    "status": b"HTTP/1.1 2",
    "headers": b"HTTP/1.1 500 Internal Server Error\r\nContent-",
    "answer": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 100\r\n\r\nsorry",
}


class Peer:
    """A listening server that leads each connection through one dialogue.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        is_over: Set when dialogues are to end.
        connections: How many connections it has had.
        messages: What it was given whole, and so may have handed on.
    """

    def __init__(self, dialogue: Callable[[Peer, socket.socket], None]) -> None:
        self._dialogue = dialogue
        self.is_over = threading.Event()
        self.connections = 0
        self.messages: list[bytes] = []
        self._listener = Listener(self._talk)
        self.port = self._listener.port

    def _talk(self, connection: socket.socket) -> None:
        self.connections += 1
        with connection, contextlib.suppress(OSError):  # the client hangs up when it has waited enough
            self._dialogue(self, connection)

    def close(self) -> None:
        """End all dialogues."""
        self.is_over.set()
        self._listener.close()


@contextlib.contextmanager
def peer(dialogue: Callable[[Peer, socket.socket], None]) -> Iterator[Peer]:
    """Such a server, for as long as the block runs."""
    server = Peer(dialogue)
    try:
        yield server
    finally:
        server.close()


def misbehave(server: Peer, connection: socket.socket, how: str) -> None:
    """Do the wrong thing and end the connection."""
    if how == "hangs":
        server.is_over.wait()
    elif how == "drips":  # a byte now and then, so that no single read takes long
        while not server.is_over.wait(0.05):
            connection.sendall(b"2")
    elif how == "drips lines":
        while not server.is_over.wait(0.05):
            connection.sendall(b"250-and\r\n")
    elif how == "resets":
        reset_on_close(connection)
    else:
        assert how == "closes", how
        # A close with unread bytes would be a reset.
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while connection.recv(65536):
                pass


def mail_server(phase: str, how: str) -> Callable[[Peer, socket.socket], None]:
    """An SMTP server that is in order up to a phase.

    Args:
        phase: Of `SMTP_PHASES`, or `QUIT`; at `content` half of the mail was read, at `answer` all of it.
        how: `closes`, `resets`, `hangs`, `drips`, `drips lines`; or the line it answers with.
    """

    def dialogue(server: Peer, connection: socket.socket) -> None:
        lines = connection.makefile("rb")

        def answer(at: str, line: str) -> None:
            if at == phase and how[0].isdigit():
                line = how
            elif at == phase:
                misbehave(server, connection, how)
                raise ConnectionAbortedError
            connection.sendall(line.encode() + b"\r\n")

        answer("greeting", "220 here")
        while command := lines.readline().split(b" ")[0].strip().decode().upper():
            if command == "DATA":
                answer("DATA", "354 go on")
                if phase in ("DATA", "content") and how[0].isdigit():
                    continue
                content = lines.read(40)
                if phase == "content":
                    answer("content", "")
                while not content.endswith(b"\r\n.\r\n"):
                    content += lines.readline()
                server.messages.append(content)
                answer("answer", "250 taken")
            elif command == "QUIT":
                answer("QUIT", "221 bye")
                return
            else:
                answer("EHLO" if command in ("EHLO", "HELO") else command, "250 yes")

    return dialogue


def web_server(phase: str, how: str) -> Callable[[Peer, socket.socket], None]:
    """An HTTP server that reads a post and misbehaves at a phase of its answer, which would be a 500.

    Args:
        phase: Of `HTTP_PHASES`.
        how: `closes`, `resets`, `hangs` or `drips`.
    """

    def dialogue(server: Peer, connection: socket.socket) -> None:
        server.messages.append(read_post(connection))
        connection.sendall(_HTTP_PARTS[phase])
        misbehave(server, connection, how)

    return dialogue


def web_answer(answer: bytes, *, then: str = "closes") -> Callable[[Peer, socket.socket], None]:
    """An HTTP server that answers each post with these bytes."""

    def dialogue(server: Peer, connection: socket.socket) -> None:
        server.messages.append(read_post(connection))
        connection.sendall(answer)
        misbehave(server, connection, then)

    return dialogue


def silent(how: str, greeting: bytes = b"") -> Callable[[Peer, socket.socket], None]:
    """A server that misbehaves right after its greeting and reads nothing."""

    def dialogue(server: Peer, connection: socket.socket) -> None:
        connection.sendall(greeting)
        misbehave(server, connection, how)

    return dialogue


def read_post(connection: socket.socket) -> bytes:
    """The body of a post."""
    stream = connection.makefile("rb")
    length = 0
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return stream.read(length)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails when the block takes longer."""
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    assert took < seconds, f"took {took:.2f} s"
