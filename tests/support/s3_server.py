"""A real S3 server of the tests' own (Versity S3 Gateway), and an unreliable network in front of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3

from ecommerce_dw.platform.postgres import free_port
from tests.support.listening import Listener, reset_on_close

PROGRAM = "versitygw"
MODULE = "github.com/versity/versitygw/cmd/versitygw"
VERSION = "v1.8.0"
ACCESS_KEY, SECRET_KEY = "landing", "landing-secret"

_REQUEST = re.compile(rb"^(?:GET|PUT|POST|HEAD|DELETE) \S+ HTTP/1\.1\r\n[^\0]*?\r\n\r\n", re.MULTILINE)
_SLOW_DOWN = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please wait.</Message></Error>'
_BUSY = b"HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_SLOW_DOWN),
    _SLOW_DOWN,
)


class NoServerError(Exception):
    """There is no S3 server on this machine, and none can be built; the message says why."""


def find_server() -> Path:
    """The server's program: from PATH, or built once by Go (some minutes) into the user's cache.

    Raises:
        NoServerError: There is none.
    """
    if found := shutil.which(PROGRAM):
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecommerce-dw" / "tests"
    built = cache / f"{PROGRAM}-{VERSION}" / PROGRAM
    if built.exists():
        return built
    go = shutil.which("go")
    if go is None:
        raise NoServerError(f"no S3 server: {PROGRAM} is not on PATH, and there is no Go to build it")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            done = subprocess.run(
                [go, "install", f"{MODULE}@{VERSION}"],
                env=os.environ | {"GOBIN": str(built.parent), "GOTOOLCHAIN": "local"},
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise NoServerError(f"no S3 server: Go could not build it: {done.stderr.strip()[-300:]}")
    return built


class Bucket:
    """A bucket, written as its producers would: by AWS's own client."""

    def __init__(self, client: Any, name: str, folder: Path) -> None:
        self.client = client
        self.name = name
        self._folder = folder

    def put(self, key: str, data: bytes) -> None:
        """Make or replace an object."""
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def put_folder(self, folder: Path, prefix: str) -> None:
        """Make an object of every file."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(f"{prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())

    def fill(self, prefix: str, count: int) -> None:
        """Many tiny objects at once: files in the server's folder are objects, though without an etag."""
        folder = self._folder / prefix
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number:06}.csv").write_bytes(b"x")

    def delete(self, key: str) -> None:
        """Delete an object."""
        self.client.delete_object(Bucket=self.name, Key=key)


class S3Server:
    """The running server.

    Attributes:
        endpoint: Its address.
        client: AWS's own client for it.
    """

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder
        self.endpoint = f"http://127.0.0.1:{port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def make_bucket(self, name: str) -> Bucket:
        """A new bucket."""
        self.client.create_bucket(Bucket=name)
        return Bucket(self.client, name, self._folder / name)


@contextlib.contextmanager
def running(program: Path, folder: Path) -> Iterator[S3Server]:
    """Run the server on a free port, its objects in a folder."""
    port = free_port()
    for name in ("objects", "attributes"):
        (folder / name).mkdir()
    command = [str(program), "--quiet", "--keep-alive", "--port", f"127.0.0.1:{port}", "posix"]
    # Beside the objects: not every file system of a temporary folder has extended attributes.
    command += ["--sidecar", str(folder / "attributes"), str(folder / "objects")]
    environment = {"ROOT_ACCESS_KEY_ID": ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": SECRET_KEY}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(0.05)
        yield S3Server(port, folder / "objects")
    finally:
        process.terminate()
        process.wait()


class Network:
    """A proxy before the server: it counts requests, and fails in the ways networks and servers do.

    Attributes:
        endpoint: Where clients find the server.
        requests: First lines of the requests that came, in their order.
        when_reset: Called before a connection is reset.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self.requests: list[str] = []
        self.when_reset: Callable[[], None] = lambda: None
        self._resets: list[int] = []
        self._refusals = 0
        self._lock = threading.Lock()
        self._listener = Listener(self._serve)
        self.endpoint = f"http://127.0.0.1:{self._listener.port}"

    def reset_after(self, *amounts: int) -> None:
        """Reset the next connections that carry as much, after so many bytes of answers each."""
        self._resets += amounts

    def refuse(self, count: int) -> None:
        """Answer the next requests with 503, as a busy store does."""
        self._refusals = count

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        self._listener.close()

    def _serve(self, client: socket.socket) -> None:
        answered = 0
        with client, socket.create_connection(("127.0.0.1", self._server_port)) as server:
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    try:
                        data = ready.recv(1 << 16)
                        if not data:
                            return
                        if ready is client:
                            found = [m[0].split(b" HTTP", 1)[0].decode() for m in _REQUEST.finditer(data)]
                            self.requests += found
                            if found and self._is_refused():
                                client.sendall(_BUSY)
                                return
                            server.sendall(data)
                        else:
                            answered += len(data)
                            if self._is_reset(answered):
                                reset_on_close(client)
                                return
                            client.sendall(data)
                    except OSError:
                        return

    def _is_refused(self) -> bool:
        with self._lock:
            self._refusals -= 1
            return self._refusals >= 0

    def _is_reset(self, answered: int) -> bool:
        with self._lock:
            if not self._resets or answered <= self._resets[0]:
                return False
            self._resets.pop(0)
        self.when_reset()
        return True
